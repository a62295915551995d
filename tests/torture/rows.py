"""The forty rows of the suite, and the tests that hold each: those here by their name, all others by this table."""

from __future__ import annotations

import ast
import re
import sys
from functools import lru_cache
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
OWN = Path(__file__).parent

TITLES = {
    1: "malicious files as weights, data, settings",
    2: "kill and power loss while a checkpoint is saved",
    3: "bits, cuts, exchanged and missing files",
    4: "embeddings that are not finite, or zero",
    5: "a training killed at any moment",
    6: "resumed on other workers and ranks",
    7: "two ranks against one",
    8: "captions in tables",
    9: "a query by another model than the index's",
    10: "items and what is known of them",
    11: "weights in the wrong architecture",
    12: "retention of checkpoints",
    13: "an index killed at any moment",
    14: "two writers",
    15: "duplicates in a batch",
    16: "shuffled captions",
    17: "leaks between training and validation",
    18: "random draws",
    19: "paths that lead out",
    20: "addresses that lead in",
    21: "tokens, hosts, origins",
    22: "asked to stop",
    23: "a rank that dies or hangs",
    24: "full, broken and read-only disks",
    25: "the image zoo",
    26: "tar shards that are not whole",
    27: "an embedding killed at any moment",
    28: "items that crash or hang the decoder",
    29: "the caption zoo",
    30: "a loss that is not finite",
    31: "the logit scale",
    32: "collapse",
    33: "fewer rows than workers and ranks",
    34: "uploads that unpack to gigabytes",
    35: "bodies without end",
    36: "malformed queries",
    37: "ten times as many callers",
    38: "a service that is asked to stop",
    39: "searches while the index changes",
    40: "script in captions and names",
}

ELSEWHERE: dict[int, dict[str, tuple[str, ...]]] = {
    1: {
        "test_trust.py": (
            "test_no_pickle_runs_wherever_it_lies",
            "test_a_command_imports_a_module_that_a_run_or_an_index_names_only_where_the_person_does",
            "test_a_recipe_file_imports_nothing_by_itself",
        ),
        "test_damage.py": ("test_arrays_hold_no_objects",),
    },
    3: {"models/test_space.py": ("test_a_flipped_bit_anywhere_is_refused_with_the_file_named",)},
    4: {
        "evaluation/test_retrieval.py": ("test_a_broken_row_is_an_error_with_its_count",),
        "stores/test_contract.py": ("test_a_vector_without_direction_is_refused_by_its_id",),
    },
    5: {
        "commands/test_resume.py": (
            "test_kill_nine_and_the_same_command_again",
            "test_many_kills",
            "test_a_killed_run_keeps_the_same_evaluation_and_stops_at_the_same_step",
        ),
        "commands/test_unfinished.py": (
            "test_a_damaged_file_of_a_killed_run_costs_nothing_but_itself",
            "test_a_checkpoint_of_another_run_is_passed_over",
        ),
    },
    6: {"training/test_ranks.py": ("test_a_run_is_the_same_on_any_number_of_ranks_and_goes_on_with_another",)},
    7: {
        "training/test_ranks.py": (
            "test_two_ranks_have_the_gradients_of_one_for_every_objective",
            "test_whatever_the_micro_batches_and_the_memory",
            "test_any_number_of_ranks_gives_the_same_bits",
        )
    },
    8: {
        "data/sources/test_table.py": (
            "test_captions_arrive_byte_for_byte",
            "test_bad_rows_are_named_and_the_others_stay",
            "test_a_quote_does_not_swallow_the_next_row",
        ),
        "data/sources/test_delimited.py": ("test_any_text_is_read_or_refused_and_lines_go_up",),
    },
    9: {
        "cli/test_cli.py": ("test_another_runs_index_is_refused_with_both_fingerprints",),
        "stores/test_contract.py": ("test_another_runs_fingerprint_is_refused_and_both_are_shown",),
    },
    10: {"stores/test_contract.py": ("test_any_history_equals_a_dictionary",)},
    11: {
        "models/test_space.py": (
            "test_golden_vectors_notice_what_hashes_cannot",
            "test_settings_of_another_network_are_refused",
        )
    },
    13: {
        "stores/test_contract.py": ("test_what_was_acknowledged_survives_kill",),
        "stores/test_local.py": ("test_a_fault_at_any_operation_loses_nothing_and_invents_nothing",),
        "commands/test_index.py": ("test_kills_at_any_moment_lose_nothing_that_was_acknowledged",),
        "commands/test_index_removed.py": ("test_what_was_removed_is_gone_from_the_bytes",),
    },
    14: {
        "commands/test_resume.py": ("test_two_processes_do_not_train_one_run",),
        "commands/test_index.py": ("test_a_second_writer_is_refused_before_any_work",),
        "commands/test_index_removed.py": (
            "test_a_second_index_of_a_new_place_is_refused_at_once",
            "test_another_embedding_into_the_same_file_is_refused",
        ),
    },
    16: {"training/test_pair_quality.py": ("test_exchanged_captions_are_found_with_honest_probabilities",)},
    18: {
        "training/test_ranks.py": ("test_ranks_together_see_what_one_sees_over_two_epochs",),
        "data/test_batches.py": ("test_draws_are_uniform_and_depend_on_seed_epoch_and_item",),
    },
    19: {"service/test_hostile.py": ("test_no_path_leads_out",)},
    20: {
        "service/test_fetching.py": (
            "test_every_way_back_to_this_machine_is_closed",
            "test_a_redirect_is_checked_like_the_first_address",
            "test_a_name_that_changes_its_address_is_asked_once",
            "test_what_is_endless_slow_missing_or_led_round_in_circles_ends",
        )
    },
    21: {
        "service/test_access.py": (
            "test_a_foreign_name_is_refused_whatever_it_resolves_to",
            "test_a_page_of_another_origin_may_send_nothing",
        ),
        "service/test_api.py": ("test_every_route_that_is_described_wants_the_token",),
        "service/test_running.py": ("test_a_token_is_drawn_printed_once_and_never_logged",),
    },
    22: {
        "test_stopping.py": (
            "test_a_training_that_is_stopped_anywhere_loses_no_step",
            "test_an_embedding_is_stopped_after_its_part",
            "test_an_index_is_stopped_after_its_part",
            "test_a_check_is_stopped_after_its_item_and_remembers_what_it_saw",
            "test_a_second_signal_ends_it_at_once",
        ),
        "commands/test_ranks.py": ("test_sigterm_to_the_launcher_leaves_a_checkpoint_that_one_process_goes_on_from",),
    },
    23: {
        "commands/test_ranks.py": (
            "test_a_killed_rank_is_started_again_and_the_run_is_that_of_one_process",
            "test_a_rank_that_hangs_is_named_and_the_launch_goes_on",
        )
    },
    24: {
        "test_files.py": (
            "test_a_fault_at_any_operation_of_atomic_write_leaves_one_whole_file",
            "test_a_fault_at_any_operation_of_write_folder_leaves_a_whole_folder",
        ),
        "commands/test_unfinished.py": ("test_a_fault_at_any_operation_of_the_end_is_no_loss",),
        "commands/test_index_refused.py": ("test_a_full_disk_leaves_no_empty_index_and_keeps_what_was_done",),
    },
    25: {
        "modalities/test_image.py": (
            "test_orientation_is_undone",
            "test_sixteen_bit_grey_is_scaled_not_clipped",
            "test_half_a_file_is_never_a_picture",
            "test_bad_pictures_say_what_is_wrong",
        ),
        "modalities/test_image_pixels.py": ("test_each_pixel_format_is_shown_as_a_browser_shows_it",),
    },
    26: {"data/sources/test_tar.py": ("test_every_cut_is_noticed",)},
    27: {"commands/test_embed.py": ("test_kills_at_any_moment_change_no_byte_and_cost_one_part_each",)},
    28: {
        "commands/test_embed.py": (
            "test_poison_costs_itself_alone",
            "test_a_hanging_decoder_needs_no_second_start",
            "test_a_crash_beside_others_needs_no_second_start",
        )
    },
    29: {
        "modalities/test_text.py": (
            "test_every_text_has_begin_and_end_and_stays_within_length",
            "test_the_two_spellings_of_an_accent_are_one",
            "test_learning_and_reading_take_no_longer_for_odd_captions",
        )
    },
    30: {
        "training/test_loop.py": (
            "test_a_step_that_is_not_finite_changes_nothing_and_is_said",
            "test_three_such_steps_in_a_row_stop_the_run",
        ),
        "training/test_ranks.py": ("test_all_ranks_stop_on_the_same_broken_rows_and_name_them",),
    },
    31: {"test_objectives.py": ("test_the_scale_never_exceeds_its_clamp",)},
    32: {
        "commands/test_collapse.py": ("test_plain_alignment_collapses_and_the_run_says_so", "test_the_cure_is_silent")
    },
    34: {
        "service/test_uploads.py": (
            "test_a_bomb_is_refused_by_its_header_before_it_costs_anything",
            "test_text_and_profiles_that_unpack_to_gigabytes_are_refused",
            "test_a_header_that_lies_is_refused",
        )
    },
    35: {
        "service/test_running.py": (
            "test_a_gigabyte_that_is_announced_is_refused_before_it_is_sent",
            "test_a_body_without_end_is_refused_while_it_comes",
        ),
        "service/test_access.py": ("test_a_body_that_drips_is_cut_off",),
    },
    36: {
        "service/test_hostile.py": ("test_no_hostile_request_gets_a_fault_of_ours", "test_nor_do_ten_thousand"),
        "service/test_api.py": ("test_a_malformed_query_is_refused_with_the_field_that_is_wrong",),
    },
    37: {"service/test_running.py": ("test_ten_times_as_many_as_it_can_serve_are_shed_and_it_recovers",)},
    38: {"service/test_running.py": ("test_told_to_stop_it_finishes_what_it_began_and_ends_well",)},
    39: {
        "service/test_api.py": ("test_an_index_that_changes_is_answered_from_one_version_at_a_time",),
        "stores/test_contract.py": ("test_every_answer_comes_from_one_version",),
    },
    40: {"service/test_page_real.py": ("test_a_caption_that_would_be_a_program_is_text",)},
}
"""Tests of other files, by row and file."""


@lru_cache
def names_in(path: Path) -> frozenset[str]:
    """Names of the tests that a file has."""
    found = ast.walk(ast.parse(path.read_text("utf-8")))
    functions = (node for node in found if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))
    return frozenset(node.name for node in functions if node.name.startswith("test_"))


def held_by(row: int) -> list[str]:
    """The tests of a row as pytest names them, from the folder of the tests."""
    named = re.compile(rf"test_row_(\d\d_and_)*{row:02d}_")
    own = [f"torture/{path.name}::{name}" for path in sorted(OWN.glob("test_*.py")) for name in sorted(names_in(path))
           if named.match(name)]  # fmt: skip
    return own + [f"{path}::{name}" for path, names in ELSEWHERE.get(row, {}).items() for name in names]


if __name__ == "__main__":  # for make torture, which runs those of other files too
    sys.stdout.write(
        " ".join(f"tests/{name}" for row in TITLES for name in held_by(row) if not name.startswith("torture/"))
    )
