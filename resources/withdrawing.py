"""Withdrawal as the command line asks for it: the home first, then the failed checks in Dagster's log."""

from resources.instance import open_instance
from resources.taints import log_taints
from tamis.lineage.heads import read_heads
from tamis.project import Project
from tamis.store.writable import storing
from tamis.withdrawal.asking import Asked
from tamis.withdrawal.reasons import WithdrawalReason
from tamis.withdrawal.withdrawing import Withdrawn, withdraw


def withdraw_project(project: Project, asked: Asked, reason: WithdrawalReason) -> Withdrawn:
    """Withdraw at once, and let the checks of tainted checkpoints fail."""
    with storing(project.home.root):
        done = withdraw(project.home, asked, reason)
        instance = open_instance(project)
        try:
            log_taints(instance, project.home, read_heads(project.home.store))
        finally:
            instance.dispose()
    return done
