import io

from app import app, count_words, worker


def test_the_words_of_a_text_are_counted():
    with app.app_context():
        job = worker.send_function(count_words, "a b\na")
        assert job.result() == {"a": 2, "b": 1}


def test_the_words_of_files_are_counted():
    files = [(io.BytesIO(b"a b"), "1.txt"), (io.BytesIO(b"a"), "2.txt")]
    page = app.test_client().post("/count-files", data={"files": files})
    assert b"<job-progress" in page.data
