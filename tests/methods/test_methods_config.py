"""Settings: unknown names and values that make no sense are refused."""

import pytest
from pydantic import ValidationError

from likewise.methods import CDCConfig, CenterConfig
from likewise.methods.instance import SimCLRConfig


@pytest.mark.parametrize(
    "settings",
    [
        {"temprature": 0.1},
        {"frame": "moco-v4"},
        {"temperature": 0},
        {"temperature": -0.1},
        {"assignment_temperature": 0},
        {"epsilon": 0},
        {"epsilon": -0.05},
        {"sinkhorn_iterations": 0},
        {"cluster_weight": -1},
        {"instance_dim": 0},
        {"hidden_dim": 0},
        {"queue_size": 0},
        {"momentum": 1.1},
        {"momentum": -0.1},
        {"temperature": "warm"},
        {"instance_dim": 12.5},
    ],
    ids=str,
)
def test_refused(settings):
    with pytest.raises(ValidationError):
        CDCConfig.model_validate(settings)


@pytest.mark.parametrize("name", ["temperature", "assignment_temperature", "epsilon", "cluster_weight"])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_values_that_are_no_numbers_are_refused(name, value):
    with pytest.raises(ValidationError):
        CDCConfig.model_validate({name: value})


def test_settings_stay_as_they_are():
    with pytest.raises(ValidationError):
        CDCConfig().temperature = 0.5  # type: ignore[misc]


def test_every_setting_is_explained():
    assert all(field.description for field in CDCConfig.model_fields.values())


def test_edges_that_are_allowed():
    config = CDCConfig(cluster_weight=0, momentum=1, sinkhorn_iterations=1, queue_size=1)
    assert config.momentum == 1


def test_settings_that_change_nothing_are_known() -> None:
    assert CDCConfig().without_effect() == {"momentum", "momentum_schedule", "queue_size", "norm_groups"}
    assert not CDCConfig(frame="moco-v2").without_effect()
    assert CDCConfig(frame="moco-v3").without_effect() == {"queue_size", "norm_groups"}
    assert CDCConfig(frame="moco-v2", equipartition=False).without_effect() == {"epsilon", "sinkhorn_iterations"}
    assert SimCLRConfig().without_effect() >= {"unit_logits", "queue_size"}
    assert not CenterConfig().without_effect()
