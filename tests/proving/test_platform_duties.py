"""What docs/workloads/any.md names for the duties of a platform's guide is there."""

import importlib
import re
from pathlib import Path

from modelkeep.edge.cli import GROUPS

PAGE = (Path(__file__).parents[2] / "docs" / "workloads" / "any.md").read_text()
DUTIES = PAGE.partition("## What a platform's guide asks for")[2].partition("\n## ")[0]
COMMANDS = {name for commands in GROUPS.values() for name in commands}


def test_every_duty_of_the_guide_is_told():
    for duty in (
        "SystemHealthMonitor.get_comprehensive_health", "_check_system_resources", "_check_database_health",
        "_check_redis_health", "_check_mlflow_health", "_check_api_health", "AlertManager.send_alert",
        "_send_email_alert", "_send_slack_alert", "_send_pagerduty_alert", "init_redis_pool", "get_cached_prediction",
        "preload_models", "optimize_batch_predictions", "track_api_metrics", "update_system_metrics", "get_metrics",
        "diagnose_model_issues", "JSONFormatter", "setup_logging(log_level, log_file)",
    ):  # fmt: skip
        assert duty in DUTIES


def test_every_module_and_command_that_is_named_exists():
    named = re.findall(r"`(modelkeep(?:\.\w+)+):(\w+)`", DUTIES)
    assert len(named) >= 12
    for module, name in named:
        assert hasattr(importlib.import_module(module), name), f"{module}:{name}"
    commands = re.findall(r"`modelkeep (\w+)", PAGE)
    assert set(commands) <= COMMANDS
