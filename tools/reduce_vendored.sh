#!/bin/sh
# Reduces what static/vendor/ takes from Tabler and Inter to what the pages use: `make vendored`.
# Run it after new classes of Tabler are used in a template, or to take a new version of either. Needs npm.
set -eu

TABLER=1.6.1
TABLER_SHA256=370a2d4e608ae518351d10528fc7dbe19b354ae5062c51b2a9cb294850d65403
INTER=5.3.0
INTER_LATIN_SHA256=3100e775e8616cd2611beecfa23a4263d7037586789b43f035236a2e6fbd4c62
INTER_LATIN_EXT_SHA256=34b9c504cab7a73e37b746343a449132e56cf7b5481af2cb81dc74dcff25c956
PURGECSS=8.0.0
FONTTOOLS=4.68.0
BROTLI=1.2.1

ROOT=$(cd "$(dirname "$0")/.." && pwd)
WORK=$(mktemp -d)
trap 'rm -rf "$WORK"' EXIT
cd "$WORK"

npm pack --silent "@tabler/core@$TABLER" "@fontsource-variable/inter@$INTER" > /dev/null
mkdir tabler inter
tar xzf "tabler-core-$TABLER.tgz" -C tabler --strip-components 1
tar xzf "fontsource-variable-inter-$INTER.tgz" -C inter --strip-components 1
sha256sum --check --quiet << SUMS
$TABLER_SHA256  tabler/dist/css/tabler.min.css
$INTER_LATIN_SHA256  inter/files/inter-latin-wght-normal.woff2
$INTER_LATIN_EXT_SHA256  inter/files/inter-latin-ext-wght-normal.woff2
SUMS

npm install --silent --no-audit --no-fund --prefix . "purgecss@$PURGECSS"
cp "$ROOT/tools/purge_tabler.mjs" .
node purge_tabler.mjs "$ROOT" tabler/dist/css/tabler.min.css tabler.css tabler-classes.txt

"$ROOT/.venv/bin/python" -m venv fonts
fonts/bin/pip install --quiet --disable-pip-version-check "fonttools==$FONTTOOLS" "brotli==$BROTLI"

# The weights the stylesheets use, and no hinting: screens of today do without.
reduce() {
    fonts/bin/fonttools varLib.instancer --quiet --no-recalc-timestamp "inter/files/inter-$1-wght-normal.woff2" wght=400:700 -o "$1.ttf"
    fonts/bin/pyftsubset "$1.ttf" --unicodes="$2" --layout-features=kern,ccmp,locl,mark,mkmk,tnum --flavor=woff2 \
        --no-hinting --desubroutinize --no-recalc-timestamp --output-file="inter-$1-wght-normal.woff2"
}
# The same ranges stand in `unicode-range` in static/css/elements.css.
reduce latin U+20-7E,U+A0-FF,U+131,U+152-153,U+2BB-2BC,U+2C6,U+2DA,U+2DC,U+304,U+308,U+329,U+2010-2015,U+2018-201E,U+2020-2022,U+2026,U+2030,U+2039-203A,U+2044,U+20AC,U+2122,U+2212,U+FFFD
reduce latin-ext '*'

cp tabler.css "$ROOT/static/vendor/tabler/"
cp tabler-classes.txt "$ROOT/tests/support/vendor/"
cp inter-latin-wght-normal.woff2 inter-latin-ext-wght-normal.woff2 "$ROOT/static/vendor/inter/"
