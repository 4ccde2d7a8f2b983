"""What pages and terminals show of a job's arguments."""

from typing import Any

import pytest

from treadle import codec
from treadle.errors import InvalidTask, PayloadError
from treadle.redaction import shown_arguments
from treadle.task import Registry, Task

LIMIT = 10_000


def mail(email: str, text: str = "", *, card: str = "") -> None: ...


def mail_all(text: str, *emails: str, **fields: Any) -> None: ...


def log_in(name: str, password: str) -> None: ...


def shown(task: Task[..., Any], *args: Any, **kwargs: Any) -> Any:
    return shown_arguments(task.encode_arguments(args, kwargs, LIMIT), task)


def test_a_redacted_parameter_is_masked_however_it_was_passed() -> None:
    """By its place or by its name; the others are shown."""
    task = Task(mail, redact=("email", "card"))
    assert shown(task, "ann@x", "hi", card="42") == {"args": ["…", "hi"], "kwargs": {"card": "…"}}
    assert shown(task, text="hi", email="ann@x") == {"args": [], "kwargs": {"text": "hi", "email": "…"}}


def test_one_name_or_a_list_of_names_will_do() -> None:
    """As with `retry_on`."""
    assert Task(mail, redact="email").settings.redact == ("email",)
    assert Task(mail, redact=["email", "card"]).settings.redact == ("email", "card")


def test_what_goes_into_a_variadic_parameter_is_masked_by_its_name() -> None:
    """All that `*emails` takes, all that `**fields` takes, or of this one name only."""
    task = Task(mail_all, redact=("emails", "iban"))
    assert shown(task, "hi", "a@x", "b@x", iban="DE", n=1) == {
        "args": ["hi", "…", "…"],
        "kwargs": {"iban": "…", "n": 1},
    }
    assert shown(Task(mail_all, redact="fields"), "hi", iban="DE") == {"args": ["hi"], "kwargs": {"iban": "…"}}


def test_the_items_of_a_part_are_masked_where_the_first_parameter_is() -> None:
    """Each is the first argument of a call."""
    payload = Task(mail).encode_items(["a@x", "b@x"], "part 0", LIMIT)
    assert shown_arguments(payload, Task(mail, redact="email")) == {"items": ["…", "…"]}
    assert shown_arguments(payload, Task(mail, redact="text")) == {"items": ["a@x", "b@x"]}


def test_what_sounds_secret_is_masked_without_being_named() -> None:
    """A parameter by its name, and what lies inside an argument."""
    assert shown(Task(log_in), "ann", "hunter2") == {"args": ["ann", "…"], "kwargs": {}}
    assert shown(Task(mail), {"api_key": "k", "n": 1}) == {"args": [{"api_key": "…", "n": 1}], "kwargs": {}}


def test_of_a_task_that_is_not_known_every_argument_is_masked() -> None:
    """Nobody knows what is to be hidden; the whole of a `send_map`, which has no arguments, has nothing to mask."""
    payload = Task(mail).encode_arguments(("ann@x",), {"text": "hi"}, LIMIT)
    assert shown_arguments(payload, None) == {"args": ["…"], "kwargs": {"text": "…"}}
    assert shown_arguments("{}", None) == {}


def test_what_fits_no_parameter_any_more_is_masked_where_any_is() -> None:
    """It may be the redacted one under the name that it had when the job was sent."""
    payload = codec.encode({"args": ["ann@x", "hi", "more"], "kwargs": {"mail": "ann@x"}})
    masked = {"args": ["…", "hi", "…"], "kwargs": {"mail": "…"}}
    assert shown_arguments(payload, Task(mail, redact="email")) == masked
    assert shown_arguments(payload, Task(mail)) == codec.plain(payload)


@pytest.mark.parametrize(
    ("payload", "answer"), [("", None), ("{", "(damaged)"), ("[1]", "(damaged)"), ('{"args":5}', "(damaged)")]
)
def test_a_payload_that_is_none_is_shown_so(payload: str, answer: Any) -> None:
    """That of a forgotten job is gone; a damaged one keeps nobody from the rest of the job."""
    assert shown_arguments(payload, Task(mail)) == answer


def test_a_name_that_is_no_parameter_is_refused_at_decoration() -> None:
    """It would show what it was to hide; the near one is proposed."""
    with pytest.raises(
        InvalidTask, match=r"mail: redact names 'emial', .* did you mean 'email'\?; the parameters are: email"
    ):
        Registry().task(redact=("emial",))(mail)
    with pytest.raises(InvalidTask, match="redact takes names of parameters"):
        Task(mail, redact=("email", 5))
    with pytest.raises(InvalidTask, match="redact belongs to the function"):
        Task(mail).options(redact="email")


def test_an_error_about_redacted_arguments_shows_none() -> None:
    """Neither that of a send nor that of a run whose arguments fit no longer, nor what a traceback shows beside it."""
    task = Task(mail, redact="email")
    sends = (
        lambda: task.encode_arguments(({"ann@x": {5: 1}},), {}, LIMIT),
        lambda: task.encode_items([{"ann@x": 1j}], "part", LIMIT),
    )
    runs = (lambda: task.decode_arguments('{"args":[],"kwargs":{"ann@x":1}}'), lambda: task.decode_items('{"ann@x":1}'))
    for step in (*sends, *runs):
        with pytest.raises(PayloadError, match="why is not shown, since some are redacted") as raised:
            step()
        assert "ann@x" not in str(raised.value)
        assert raised.value.__context__ is None
