"""What the demo computes: functions, measured one file at a time, and combined."""

import ast
import json
import textwrap

import pytest

from treadle import codec
from treadle_demo.analysis import TOP, TWIN_LINES, analyse, combine, functions_of

LONG = "def twin(x):\n" + "".join(f"    x += {n}\n" for n in range(TWIN_LINES - 2)) + "    return x\n"


def measured(source):
    """The functions of a source by name."""
    return {function.name: function for function in functions_of(ast.parse(textwrap.dedent(source)))}


@pytest.fixture
def save(tmp_path):
    """Saves sources under names and analyses them."""

    def saved(**sources):
        for name, source in sources.items():
            data = source if isinstance(source, bytes) else source.encode()
            (tmp_path / f"{name}.py").write_bytes(data)
        return [analyse(str(tmp_path / f"{name}.py")) for name in sources]

    return saved


def test_a_function_is_as_long_as_its_lines():
    """From `def` to its last line."""
    assert measured("def f():\n    a = 1\n\n    return a\n")["f"].lines == 4


def test_functions_are_found_wherever_they_stand():
    """Methods, coroutines, and functions within functions."""
    source = """
        class C:
            async def method(self):
                def inner(): pass
    """
    assert set(measured(source)) == {"method", "inner"}


def test_whatever_decides_is_a_branch():
    """if, elif, loops, except, match cases, conditions in expressions."""
    source = """
        def f(xs):
            if xs and all(xs):
                pass
            elif xs:
                pass
            for x in xs:
                y = 1 if x else 2
            try:
                return [x for x in xs]
            except ValueError:
                pass
    """
    assert measured(source)["f"].branches == 7


@pytest.mark.parametrize(
    ("body", "nesting"),
    [
        ("pass", 0),
        ("if x: pass", 1),
        ("if x:\n  for y in x:\n    with y: pass", 3),
        ("if x: pass\nelif y: pass\nelif z: pass", 1),
        ("if x: pass\nelse:\n  if y: pass\n  pass", 2),
        ("try: pass\nexcept E:\n  if x: pass", 2),
        ("match x:\n  case 1:\n    if y: pass", 2),
        ("def g():\n  while x: pass", 2),
    ],
)
def test_nesting_is_how_deep_statements_stand(body, nesting):
    """An `elif` is as deep as its `if`."""
    assert measured("def f(x, y, z):\n" + textwrap.indent(body, "  "))["f"].nesting == nesting


def test_layout_and_comments_do_not_tell_functions_apart():
    """The hash is of the tree; names and values count."""
    spaced = LONG.replace("x += 3", "x  +=  3  # more")
    other = LONG.replace("x += 3", "x += 4")
    digests = [measured(source)["twin"].digest for source in (LONG, "\n\n" + spaced, other)]
    assert digests[0] == digests[1] != digests[2]


def test_short_functions_have_no_hash():
    """They are alike by chance."""
    assert measured("def f(): pass")["f"].digest == ""


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        (b"def f(:\n", "SyntaxError"),
        (b"# coding: no-such-code\n", "SyntaxError"),
        (b'"\xff"\n', "SyntaxError"),
        (b"x = 1\0\n", ""),
        (b"-" * 100_000 + b"1\n", ""),
        (b"x = '\\ud800'\ndef f(:\n", "SyntaxError"),
    ],
)
def test_a_file_that_does_not_parse_is_reported(save, source, reason):
    """Never fatal; the reason is text that JSON can carry."""
    [result] = save(bad=source)
    assert reason in result["error"]
    assert combine([result])["unparsed"]["files"] == 1
    codec.encode(result)


def test_a_file_that_is_gone_is_reported(tmp_path):
    """A tree may change while it is analysed."""
    assert "FileNotFoundError" in analyse(str(tmp_path / "gone.py"))["error"]


def test_a_file_tells_no_more_than_its_own_top(save):
    """Results go through the store, so they are small."""
    [result] = save(many="\n".join(f"def f{n}():\n    return {n}\n" for n in range(100)))
    assert result["functions"] == 100
    assert len(result["longest"]) == len(result["branched"]) == TOP
    assert result["digests"] == []


def test_totals_are_of_the_files_that_parsed(save):
    """And the others are counted beside them."""
    total = combine(save(a="def f():\n    if 1: pass\n", b="def g(): pass\n", bad="("))
    counts = {name: total[name] for name in ("files", "lines", "functions", "branches", "nesting")}
    assert counts == {"files": 3, "lines": 3, "functions": 2, "branches": 1, "nesting": 1}
    assert total["unparsed"]["first"][0][0] == "bad.py"


def test_the_ten_longest_of_all_files_come_first(save):
    """In order, with file and line, below the folder that all files share."""
    total = combine(save(short="def f(): pass\n" * 20, long="\n" + LONG))
    assert total["longest"][0] == [TWIN_LINES, "long.py", 2, "twin"]
    assert len(total["longest"]) == TOP


def test_a_twin_stands_in_more_than_one_file(save):
    """Twice in one file is no twin."""
    total = combine(save(a=LONG, b="\n" + LONG, c=LONG.replace("twin", "other") * 2))
    assert total["twins"] == {"functions": 1, "copies": 2, "longest": [[TWIN_LINES, "a.py", 1, "twin", 2]]}


def test_nothing_gives_empty_tables():
    """A `send_map` of no files has a result, too."""
    total = combine([])
    assert (total["files"], total["longest"], total["twins"]["functions"]) == (0, [], 0)


def test_results_pass_through_json_unchanged(save):
    """So the three ways of running it can be compared."""
    results = save(a=LONG, b=LONG, bad="(")
    assert json.loads(json.dumps(results)) == codec.decode(codec.encode(results)) == results
    assert combine(codec.decode(codec.encode(results))) == combine(results)
