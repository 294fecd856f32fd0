"""How a search ends whose source refuses to go on."""

from hptransfer.base.errors import UsageError
from hptransfer.experiment import Resources
from hptransfer.runs import Store
from hptransfer.search import tuner
from hptransfer.search.profile import Profile
from hptransfer.search.progress import Progress


class Refuses:
    def missing(self, records):
        raise UsageError("the store holds another search")


def test_a_refusal_in_mid_search_ends_it_in_its_own_words(tmp_path, monkeypatch):
    """Raised out of a searcher it would end Tune with a stack trace."""
    monkeypatch.setattr(tuner, "slots", lambda resources: 1)
    progress = Progress(1, 1.0, lambda record: "", lambda record: "")
    searcher = tuner._Searcher(Refuses(), Store(tmp_path), {}, progress, Resources(), Profile())
    assert searcher.suggest("trial") == tuner.Searcher.FINISHED
    assert str(searcher.failed) == "the store holds another search"
