"""The admin in Simplified Chinese."""

import gettext
import re
from pathlib import Path

from django.utils import translation

import django_worker
from django_worker.models import SendFunction
from treadle.states import State

FOLDER = Path(django_worker.__file__).parent
CATALOG = FOLDER / "locale/zh_Hans/LC_MESSAGES"


def compiled():
    with (CATALOG / "django.mo").open("rb") as file:
        return gettext.GNUTranslations(file)


def test_everything_that_can_be_translated_is():
    """Each text of the package that is marked, and each state."""
    sources = "".join(path.read_text() for path in FOLDER.glob("*.py"))
    marked = {*re.findall(r'\b(?:_|ngettext)\(\s*"([^"]+)"', sources), *(str(state) for state in State)}
    assert len(marked) > 15
    catalog = compiled()
    assert sorted(text for text in marked if catalog.ngettext(text, text, 2) == text == catalog.gettext(text)) == []


def test_what_is_compiled_is_what_is_written():
    """Each translation of the .po is in the .mo."""
    written = re.findall(r'^msgstr(?:\[0\])? "(.+)"$', (CATALOG / "django.po").read_text(), re.MULTILINE)
    kept = (CATALOG / "django.mo").read_bytes().decode(errors="ignore")
    assert [text for text in written if text not in kept] == []


def test_a_chinese_admin_calls_a_job_by_its_name():
    """Django finds the catalog of the app."""
    with translation.override("zh-hans"):
        assert (SendFunction._meta.verbose_name, dict(SendFunction._meta.get_field("state").choices)["ready"]) == (
            "任务",
            "就绪",
        )
