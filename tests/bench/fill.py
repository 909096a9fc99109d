"""Fill an empty database by the code of the version that is first on the path: `python -P fill.py SUBJECTS`.

It is run for old versions too, so it asks little of them: `tests.bench.shop.make_shop`, the runtime, and the
tables `projects` and `installation`. Prints the shop as JSON.
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict

from sqlalchemy import text

from licenzy.factory import make_runtime
from licenzy.settings import load_settings
from tests.bench.shop import make_shop


def main() -> None:
    runtime = make_runtime(load_settings())
    shop = make_shop(runtime, subjects=int(sys.argv[1]))
    with runtime.database.write() as db:
        # To whoever was added by the command line before, so that somebody can look at its pages.
        db.execute(
            text(
                "UPDATE projects SET workspace_id = (SELECT workspace_id FROM installation) "
                "WHERE EXISTS (SELECT 1 FROM installation)"
            )
        )
    runtime.database.close()
    print(json.dumps(asdict(shop)))


if __name__ == "__main__":
    main()
