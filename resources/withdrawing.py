"""Withdrawal as the command line asks for it: the home first, then the failed checks in Dagster's log."""

from tamis.platform.resources.instance import dagster_state, open_instance
from tamis.platform.resources.instance_file import prepare_folder
from tamis.platform.resources.taint_checks import log_taints
from tamis.project import Project
from tamis.records.current_values import read_current_values
from tamis.store.unwritable import storing
from tamis.withdrawal.asking import Asked, WithdrawalReason
from tamis.withdrawal.withdrawing import Withdrawn, withdraw


def withdraw_project(project: Project, asked: Asked, reason: WithdrawalReason) -> Withdrawn:
    """Withdraw at once, and let the checks of tainted checkpoints fail."""
    prepare_folder(project)  # refuses a file that nobody has accepted before anything is withdrawn
    with dagster_state(project), storing(project.home.root):
        done = withdraw(project.home, asked, reason)
        instance = open_instance(project)
        try:
            log_taints(instance, project.home, read_current_values(project.home.store))
        finally:
            instance.dispose()
    return done
