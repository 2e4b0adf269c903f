"""What can be compared: names, shares and settings."""

import pytest

from likewise.assembly import method_config
from likewise.benchmark.entries import ABLATIONS, ENTRIES, ablations_named, entries_named, entry_named
from likewise.errors import InputError
from likewise.recipe_book import make_recipe

EVERY = [*ENTRIES.values(), *ABLATIONS.values()]


@pytest.mark.parametrize("entry", EVERY, ids=lambda entry: entry.name)
def test_every_entry_makes_recipes_within_the_budget(entry):
    assert entry.about
    if entry.stages:
        assert sum(stage.share for stage in entry.stages) == pytest.approx(1)
    for stage in entry.stages:
        method_config(make_recipe(None, {}, list(stage.settings)))


@pytest.mark.parametrize("name", ["cdc", "simclr", "moco-v2", "scan"])
def test_self_labelling_goes_on_with_the_same_method(name):
    plain, longer = entry_named(name), entry_named(f"{name}+self-label")
    assert longer.name == f"{name}+self-label"
    assert sum(stage.share for stage in longer.stages) == pytest.approx(1)
    assert [stage.settings for stage in longer.stages[:-1]] == [stage.settings for stage in plain.stages]
    last = make_recipe(None, {}, list(longer.stages[-1].settings))
    before = make_recipe(None, {}, list(plain.stages[-1].settings))
    assert (last.stage.name, last.method) == ("self-label", before.method)
    assert longer.stages[-1].share == 0.2


def test_what_is_not_there():
    with pytest.raises(InputError, match="Did you mean 'simclr'"):
        entry_named("simclt")
    for name in ("kmeans-pixels", "supervised"):
        with pytest.raises(InputError, match=f"{name} leaves nothing"):
            entry_named(f"{name}+self-label")
    with pytest.raises(InputError, match="which methods"):
        entries_named(" , ")
    with pytest.raises(InputError, match="Did you mean 'full'"):
        ablations_named("ful")


def test_a_list_names_each_once():
    assert [entry.name for entry in entries_named("cdc, scan,cdc")] == ["cdc", "scan"]
    assert [entry.name for entry in ablations_named("no-infonce,full")] == ["no-infonce", "full"]
    assert len(ablations_named(None)) == len(ABLATIONS)
