"""Who may open what: for every method and endpoint of the portal the least role, written by hand.

It follows the contract of roles and not the decorators of the code: viewers read, without payloads; support
adds payloads, grants, revocations, adjustments, extensions, adoption, replays, resyncs and sending again;
admins add the catalog, keys, connections, endpoints, settings, imports, the audit log and inviting up to
admin; owners add owners, deletion and the policy of second factors. Whatever makes, shows or ends a
credential needs fresh authentication.

A new page is one line here. An id in its path that no page had before is one line in `access_records.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from licenzy.alignment.modes import Mode
from licenzy.setup.rules import StepName
from licenzy.workspace.models import Role


@dataclass(frozen=True)
class Access:
    """Who may send one method to one endpoint, and what the answer may contain."""

    least: Role | None = None
    """The least role; with none, everybody who is signed in."""
    public: bool = False
    """Whether nobody has to be signed in."""
    fresh: bool = False
    """Whether credentials are changed or shown, so that the password was given recently."""
    payload: bool = False
    """Whether the page shows payloads, to support and above."""
    both_modes: bool = False
    """Whether it tells, on purpose, what the other mode of the same project has."""
    ids: Mapping[str, str] = field(default_factory=dict)
    """Ids in the query or the form: the field, and the name in `access_records.py`."""
    echoed: Mapping[str, str] = field(default_factory=dict)
    """Ids in the query that are only written into a field, whosever they are."""
    finds_other_mode: bool = False
    """Whether `ids` of the other mode are found, on purpose."""
    counting: tuple[Mode, ...] = tuple(Mode)
    """The modes in which `ids` count."""
    cursor: str = ""
    """The name of the ids by which its list goes on, as `older_than` and `newer_than`."""
    form: Mapping[str, str] = field(default_factory=dict)
    """What is sent in every request: beside `ids`, what is needed for them to count."""
    words: Mapping[str, str] = field(default_factory=dict)
    """The words of the path with which `ids` count."""
    leads: str = ""
    """The page of signing in to which who may is sent."""
    modes: tuple[Mode, ...] = tuple(Mode)
    """The modes in which it exists."""
    also: tuple[int, ...] = ()
    """Statuses that answer who may, beside those of every page, for what is sent here: an empty form."""


def public(**more: Any) -> Access:
    return Access(public=True, **more)


def signed_in(**more: Any) -> Access:
    return Access(**more)


def viewer(**more: Any) -> Access:
    return Access(Role.VIEWER, **more)


def support(**more: Any) -> Access:
    return Access(Role.SUPPORT, **more)


def admin(**more: Any) -> Access:
    return Access(Role.ADMIN, **more)


def owner(**more: Any) -> Access:
    return Access(Role.OWNER, **more)


TABLE: dict[str, Access] = {
    # Before signing in. What has no such link, sign-in or provider behind it answers that.
    "GET home": public(),
    "GET claim": public(also=(404,)),
    "POST claim": public(also=(404,)),
    "GET sign_in": public(),
    "POST sign_in": public(),
    "POST passkey_sign_in": public(),
    "POST passkey_sign_in_options": public(),
    "GET sign_in_at_provider": public(also=(404,)),
    "GET back_from_provider": public(also=(404,)),
    "GET second_step": public(),
    "POST second_step": public(),
    "POST passkey_step": public(),
    "POST passkey_step_options": public(also=(400,)),
    "GET forgotten_password": public(),
    "POST forgotten_password": public(),
    "GET reset_password": public(also=(410,)),
    "POST reset_password": public(also=(410,)),
    "GET invitation": public(also=(404,)),
    "POST invitation": public(also=(404,)),
    "GET checkout_canceled": public(),
    "GET checkout_done": public(),
    "GET docs": public(),
    # One's own account.
    "POST accept": signed_in(also=(404,)),
    "POST sign_out": signed_in(leads="/sign-in"),
    "GET account": signed_in(),
    "POST change_password": signed_in(),
    "POST end_session": signed_in(),
    "POST end_other_sessions": signed_in(),
    "GET confirm": signed_in(),
    "POST confirm": signed_in(),
    "POST confirm_options": signed_in(),
    "POST confirm_with_passkey": signed_in(leads="/account/confirm"),
    "GET confirm_at_provider": signed_in(also=(404,)),
    "GET notifications": signed_in(),
    "POST save_notifications": signed_in(),
    "GET second_factor": signed_in(),
    "POST second_factor": signed_in(),
    "GET app_set_up": signed_in(fresh=True),
    "POST begin_app": signed_in(fresh=True),
    "POST confirm_app": signed_in(fresh=True),
    "POST remove_app": signed_in(fresh=True),
    "GET new_passkey": signed_in(fresh=True),
    "POST new_passkey_options": signed_in(fresh=True),
    "POST create_passkey": signed_in(fresh=True),
    "POST remove_passkey": signed_in(fresh=True),
    "GET recovery_codes": signed_in(),
    "POST create_recovery_codes": signed_in(fresh=True),
    # Projects and workspaces.
    "GET projects": signed_in(),
    "GET new_project": admin(),
    "POST new_project": admin(),
    "GET new_workspace": owner(),
    "POST new_workspace": owner(),
    "GET workspace.team": viewer(),
    "GET workspace.team_member": viewer(),
    "POST workspace.leave_workspace": viewer(),
    "POST workspace.invite_member": admin(fresh=True),
    "POST workspace.renew_invitation": admin(fresh=True),
    "POST workspace.end_invitation": admin(),
    "POST workspace.set_member_role": admin(fresh=True),
    "POST workspace.remove_team_member": admin(fresh=True),
    "POST workspace.issue_password_reset": admin(fresh=True),
    "POST workspace.reset_member_second_factor": owner(fresh=True),
    "POST workspace.disable_member": owner(fresh=True),
    "POST workspace.enable_member": owner(fresh=True),
    "GET workspace.audit": admin(ids={"person": "user_id", "project": "project_id", "q": "key_id"}),
    "POST workspace.export_audit": admin(
        ids={"person": "user_id", "project": "project_id", "q": "key_id"}, form={"format": "csv"}
    ),
    "GET workspace.workspace_settings": admin(),
    "POST workspace.save_workspace_name": admin(),
    "POST workspace.save_time_display": admin(),
    "POST workspace.save_second_factor": owner(fresh=True),
    "POST workspace.remove_workspace": owner(fresh=True),
    # One side of a project: what is read.
    "GET project.overview": viewer(),
    "GET project.alignment": viewer(both_modes=True),
    "GET project.search": viewer(ids={"q": "key_id"}, finds_other_mode=True),
    "GET project.customers": viewer(ids={"search": "subject_ref"}, cursor="subject_id"),
    "GET project.customer": viewer(),
    "GET project.events": viewer(ids={"about": "object_id"}, cursor="received_id"),
    "GET project.event": viewer(payload=True),
    "GET project.deliveries": viewer(ids={"to": "endpoint_id"}, cursor="delivery_id"),
    "GET project.delivery": viewer(payload=True),
    "GET project.untracked": viewer(cursor="untracked_id"),
    "GET project.untracked_checkout": viewer(),
    "GET project.reconciliation": viewer(),
    "GET project.reconciliation_progress": viewer(),
    "GET project.imports": viewer(),
    "GET project.one_import": viewer(cursor="purchase_key"),
    "GET project.import_progress": viewer(),
    "GET project.import_differences": viewer(),
    "POST project.export_import_purchases": viewer(),
    "POST project.export_import_differences": viewer(),
    "GET project.import_template": viewer(),
    "GET project.lab": viewer(ids={"product_code": "product_code"}, counting=(Mode.TEST,)),
    "GET project.lab_purchase": viewer(modes=(Mode.TEST,)),
    "GET project.lab_live": viewer(modes=(Mode.TEST,)),
    "GET project.products": viewer(),
    "GET project.api_keys": viewer(),
    "GET project.api_key": viewer(ids={"q": "request_id"}),
    "GET project.connection": viewer(),
    "GET project.webhooks": viewer(),
    "GET project.webhook": viewer(),
    "GET project.project_settings": viewer(),
    "GET project.setup": viewer(),
    "GET project.setup_step": viewer(
        ids={"attempt": "attempt_id"}, words={"step": "purchase"}, both_modes=True
    ),
    "GET project.purchase_timeline": viewer(),
    "GET project.webhook_proof": viewer(),
    # What support does for customers.
    "POST project.check_alignment": support(),
    "POST project.mark_finding_fixed": support(),
    "POST project.check_live": support(modes=(Mode.LIVE,)),
    "POST project.request_reconciliation": support(),
    "POST project.replay_event": support(),
    "POST project.replay_parked": support(),
    "POST project.requeue_delivery": support(),
    "POST project.requeue_deliveries": support(ids={"endpoint": "endpoint_id"}, form={"status": "sent"}),
    "POST project.adopt_untracked": support(),
    "GET project.new_grant": support(echoed={"subject_ref": "subject_ref"}),
    "POST project.new_grant": support(ids={"product_code": "product_code"}, form={"subject_ref": "newcomer"}),
    "POST project.resync_customer": support(),
    "POST project.allow_trial": support(),
    "POST project.set_customer_override": support(),
    "POST project.remove_customer_override": support(),
    "POST project.adjust_entitlement": support(),
    "POST project.adjust_included_units": support(),
    "POST project.extend_entitlement": support(),
    "POST project.lift_entitlement": support(),
    "POST project.revoke_entitlement": support(),
    # The catalog.
    "GET project.new_product": admin(),
    "POST project.new_product": admin(),
    "GET project.new_offer": admin(),
    "GET project.product_proposal": admin(),
    "POST project.create_first_price": admin(),
    "GET project.edit_product": admin(),
    "POST project.edit_product": admin(),
    "GET project.edited_offer": admin(),
    "GET project.price_search": admin(),
    "POST project.add_price": admin(),
    "POST project.create_another_price": admin(),
    "POST project.label_price": admin(),
    "POST project.remove_mapped_price": admin(),
    "POST project.retire_price": admin(),
    "POST project.refresh_prices": admin(),
    "POST project.archive_product": admin(),
    "POST project.restore_product": admin(),
    "GET project.holders_of_terms": admin(),
    "POST project.give_terms": admin(),
    "GET project.terms_progress": admin(),
    "POST project.stop_terms": admin(),
    "POST project.copy_catalog": admin(modes=(Mode.LIVE,), both_modes=True),
    # Credentials: API keys, the connection, endpoints.
    "POST project.create_api_key": admin(fresh=True),
    "POST project.rotate_api_key": admin(fresh=True),
    "POST project.revoke_api_key": admin(fresh=True),
    "POST project.save_key": admin(fresh=True),
    "POST project.key_verdict": admin(),
    "POST project.connect_sandbox": admin(fresh=True, modes=(Mode.TEST,)),
    "POST project.save_webhook_secret": admin(fresh=True),
    "POST project.end_secret_overlap": admin(fresh=True),
    "POST project.register_endpoint": admin(fresh=True),
    "POST project.disconnect": admin(fresh=True),
    "POST project.create_endpoint": admin(fresh=True),
    "POST project.change_endpoint": admin(fresh=True),
    "POST project.rotate_endpoint_secret": admin(fresh=True),
    "POST project.delete_endpoint": admin(fresh=True),
    "POST project.pause_endpoint": admin(),
    "POST project.resume_endpoint": admin(),
    "POST project.test_endpoint": admin(),
    # Imports, set-up, the lab, settings.
    "GET project.new_import": admin(),
    "POST project.start_import": admin(),
    "POST project.upload_map": admin(),
    "POST project.upload_access_list": admin(),
    "POST project.name_import_keys": admin(),
    "POST project.match_import_again": admin(),
    "POST project.assign_purchase": admin(ids={"key": "purchase_key"}, form={"subject_ref": "newcomer"}),
    "POST project.accept_import_proposals": admin(),
    "POST project.leave_out_purchases": admin(ids={"key": "purchase_key"}),
    "POST project.run_import": admin(),
    "POST project.stop_import": admin(),
    "POST project.fetch_now": admin(),
    "POST project.send_sample_request": admin(),
    "POST project.start_purchase": admin(
        ids={"product_code": "product_code"}, form={"subject_ref": "newcomer", "submission_id": "once"}
    ),
    "POST project.start_lab": admin(),
    "POST project.lab_step": admin(form={"action": "advance_day"}, modes=(Mode.TEST,)),
    "GET project.sandbox_console": admin(modes=(Mode.TEST,)),
    "POST project.rename": admin(),
    "POST project.save_returns": admin(),
    "POST project.save_default_unit": admin(),
    "POST project.save_known_customers": admin(),
    "POST project.archive": admin(),
    "POST project.unarchive": admin(),
    "POST project.delete": owner(fresh=True),
    # "Deletion", which is the owner's, is that of projects and workspaces: erasing a customer is the admin's.
    "GET project.erase_customer_page": admin(fresh=True),
    "POST project.erase_customer": admin(fresh=True),
}

WORDS: dict[str, tuple[str, ...]] = {
    "step": tuple(step.value for step in StepName),
    "version": ("1",),
    "code": ("webhook_signature_failed",),
    "name": ("customers",),
    "page": ("errors",),
    "event_type": ("entitlement.updated",),
    "token": ("unknown",),
}
"""What stands in a path and is no id: every value to be asked for."""
