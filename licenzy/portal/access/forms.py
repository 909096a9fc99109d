"""Forms of claiming an installation and of signing in."""

from __future__ import annotations

from wtforms import EmailField, HiddenField, PasswordField, StringField
from wtforms.validators import InputRequired, Length

from licenzy.errors import LicenzyError
from licenzy.portal.forms import PortalForm
from licenzy.workspace.actions import TooManyTries


class ClaimForm(PortalForm):
    name = StringField(
        "Your name",
        validators=[InputRequired("Enter your name."), Length(max=80)],
        render_kw={"autocomplete": "name", "maxlength": 80},
    )
    email = EmailField(
        "E-mail address",
        description="You sign in with it. Nothing is sent there.",
        validators=[InputRequired("Enter an e-mail address."), Length(max=254)],
        render_kw={"autocomplete": "username", "maxlength": 254},
    )
    password = PasswordField(
        "Password",
        description="At least 8 characters. A few unrelated words work well.",
        validators=[InputRequired("Choose a password.")],
        render_kw={"autocomplete": "new-password"},
    )


class SecondStepForm(PortalForm):
    code = StringField(
        "Code",
        description="Six digits from your authenticator app, or one of your recovery codes.",
        validators=[InputRequired("Enter a code."), Length(max=100)],
        render_kw={"autocomplete": "one-time-code", "autocapitalize": "off", "spellcheck": "false"},
    )
    next = HiddenField()


class PasskeyForm(PortalForm):
    credential = HiddenField(validators=[InputRequired(), Length(max=20_000)])
    next = HiddenField()


class SignInForm(PortalForm):
    throttled: TooManyTries | None = None
    """Set when no password is checked for a while."""

    email = EmailField(
        "E-mail address",
        validators=[InputRequired("Enter your e-mail address."), Length(max=254)],
        render_kw={"autocomplete": "username", "maxlength": 254},
    )
    password = PasswordField(
        "Password",
        validators=[InputRequired("Enter your password."), Length(max=1000)],
        render_kw={"autocomplete": "current-password"},
    )
    next = HiddenField()

    def refuse(self, error: LicenzyError) -> None:
        """Too many tries are worded by the page itself."""
        if isinstance(error, TooManyTries):
            self.refusal = self.throttled = error
        else:
            super().refuse(error)


class JoinForm(PortalForm):
    name = StringField(
        "Your name",
        validators=[InputRequired("Enter your name."), Length(max=80)],
        render_kw={"autocomplete": "name", "maxlength": 80},
    )
    password = PasswordField(
        "Password",
        description="At least 8 characters. A few unrelated words work well.",
        validators=[InputRequired("Choose a password.")],
        render_kw={"autocomplete": "new-password"},
    )


class ForgottenPasswordForm(PortalForm):
    email = EmailField(
        "E-mail address",
        validators=[InputRequired("Enter your e-mail address."), Length(max=254)],
        render_kw={"autocomplete": "username", "maxlength": 254},
    )


class NewPasswordForm(PortalForm):
    password = PasswordField(
        "New password",
        description="At least 8 characters. A few unrelated words work well.",
        validators=[InputRequired("Choose a password.")],
        render_kw={"autocomplete": "new-password"},
    )
