"""Tests that `make test`, and so CI, leaves to `make test-slow`: the longest.

What they show is shown there too: by the same test with another parameter, or by a faster test of the same code. Each
name has the parameters that stay in `make test` as an expression that matches their ids, None where none stays.
"""

import re

LONG: dict[str, dict[str, str | None]] = {
    "api/test_calls.py": {
        # The cells of a call have a study's keys, which stays: so each reads what the other has made.
        "test_what_a_study_made_a_call_reads": None,
        "test_what_a_call_made_a_notebook_reads": None,
        "test_a_tagging_primary_and_a_policy_are_compared": None,
        "test_a_comparison_trains_each_arm_once": None,
    },
    "data/test_leak_recall.py": {
        "test_one_change_is_found_in_every_script_from_twelve_words_on": r"^13",
        "test_one_word_in_ten_may_be_changed_and_one_in_five_may_not": r"^(Latin|Chinese)$",
    },
    "data/test_planted.py": {
        "test_the_helpful_task_helps": None,
        "test_single_task_leaves_room": None,  # the demo of 06 and 07 shows what single-task scores, and what helps
        "test_the_harmful_task_harms": None,
        "test_the_discriminator_ranking_finds_what_was_planted": None,  # 03's demo and golden values show it
    },
    "data/test_leakage.py": {"test_chunks_change_nothing": None},
    "data/test_token_store.py": {"test_processes_that_ask_at_once_make_tokens_once": None},
    "data/test_tokens.py": {
        "test_texts_get_the_tokens_that_the_tokenizer_gives": r"^(right-(bert|albert|modernbert)|left-xlnet)$",
        "test_a_forked_process_neither_waits_nor_warns": None,
    },
    "data/reading/test_stored_rows.py": {"test_processes_that_open_at_once_agree": None},
    "data/reading/test_twins.py": {
        "test_the_shipped_suites_of_twins_cut_their_primary_and_share_no_row": r"^stsb"
    },
    "evaluation/test_counting.py": {"test_so_it_is_of_rows_without_sentences": None},
    "methods/fastmtl/test_cascade.py": {"test_every_scorer_of_a_scored_pool": None},
    "methods/tawt/test_weighted_counter.py": {
        "test_weighted_training_costs_what_was_counted": r"^(mixed|sampled|pre-training|the authors'|reused|parts)$"
    },
    "methods/test_context.py": {
        "test_each_seed_draws_rows_of_the_primary_that_all_it_trains_are_of": r"^(single|td_bce|tawt_joint)$",
        "test_two_tasks_are_enough_to_choose_from": r"^td_ce$",
    },
    "methods/test_toy_methods.py": {"test_an_installed_package_announces_the_same": None},
    "methods/test_forecasting.py": {
        "test_an_arm_costs_at_most_and_about_what_was_forecast":
            r"^(single|random|td_bce|gradts_top|bm25|textemb|famo|tawt_joint|pretrain|td_bce\+scored)$"
    },
    "models/test_encoder_families.py": {
        "test_every_task_is_trained_and_scored": r"^(bert|roberta|xlnet)$",
        "test_neighbours_and_precision_change_little": r"^(bert|electra|xlnet)$",
        "test_an_exported_model_gives_the_same_outputs": r"^(bert|mpnet|xlnet)$",
        "test_head_importance_is_measured_or_refused": r"^(bert|distilbert|deberta-v3)$",
    },
    "models/test_encoder_files.py": {"test_a_hub_id_is_known_by_the_commit_of_its_snapshot": r"^0_"},
    "models/test_encoder_signals.py": {
        "test_rows_gradients_are_those_of_autograd_or_refused": r"^(roberta|albert|modernbert|xlnet)$",
        "test_early_exits_are_the_whole_model_s_states": r"^(bert|xlnet)$",
        "test_trained_with_the_embeddings_in_use_alone_it_is_the_same": r"^(bert|roberta)$",
    },
    "reporting/test_validity.py": {"test_methods_that_train_in_order_to_choose_cost_what_was_forecast": None},
    "signals/test_pass_store.py": {
        "test_two_processes_give_the_bytes_of_one": None,
        "test_an_error_in_a_process_is_the_same_clear_error": None,
    },
    "signals/test_target_gradients.py": {"test_only_the_buffers_are_held": None},
    "studies/engine/test_foreground.py": {
        "test_a_cell_of_a_study_with_a_plugin_runs_again_but_none_from_a_run_folder": None,
        "test_a_failing_cell_shows_where_and_opens_the_debugger_if_asked": None,
    },
    "studies/engine/test_runner.py": {"test_only_what_depends_on_a_changed_parameter_runs_again": None},
    "studies/engine/test_seed_workers.py": {
        "test_a_notebook_finds_made_what_a_worker_has_made": r"^06",
        "test_two_workers_find_what_one_finds": r"^02",
        "test_a_worker_that_dies_costs_nothing_but_time": r"^import",
        "test_choices_are_judged_in_the_order_of_seeds_whoever_made_them": None,
    },
    "studies/test_graph.py": {
        # Their suites are read for it; what their files tell is checked of each.
        "test_committed_studies_are_valid": r"^(quickstart|twins_sst2|planted_subsets|tawt_pos|gradts_mpnet).yaml$"
    },
    "studies/test_planning.py": {"test_finished_runs_take_no_time": None},
    "test_cli.py": {
        "test_a_ranking_is_exported_as_its_notebook_has_it": None,
        "test_an_arm_s_rows_are_those_that_it_trained_on": None,  # export/test_selections.py has it of one method
    },
    "test_hosts.py": {
        "test_a_study_runs_without_a_home_and_in_its_own_python": None,
        "test_a_kernel_that_does_not_start_is_explained_by_what_it_wrote": None,
        "test_what_ends_snakemake_is_shown": None,
    },
    "test_messages.py": {"test_an_interrupt_from_a_script_ends_a_command_and_all_that_it_started": r"^notebooks$"},
    "test_progress_bar.py": {
        "test_an_interrupted_training_cell_goes_on_from_its_checkpoint": None,
        "test_a_person_sees_a_bar_and_it_is_gone_afterwards": None,
    },
    "training/test_data_parallel.py": {
        "test_two_processes_equal_one": None,  # their gradients, added up, stay
        "test_they_end_with_the_process_that_started_them": None,
        "test_an_error_of_one_process_ends_the_others": None,
    },
    "training/test_meta_device.py": {
        "test_an_epoch_of_steps_reads_nothing_off_the_device": r"^(mixed|bce|weighted|reused)$"
    },
    "training/test_train.py": {
        "test_bf16_learns_as_fp32_does": None,
        "test_the_discriminator_learns_to_tell_tasks": r"^ce$",
    },
    "whole/test_published_prices.py": {
        "test_every_arm_of_gradts_is_a_training_of_its_own_in_the_grid": None,
        "test_autosem_prices_to_its_own_arithmetic": None,  # TAWT's stays, and forecasts by hand of every method
        "test_fastmtl_prices_to_the_notes": None,
        "test_fastmtl_prices_to_its_published_costs": None,
        "test_gradts_prices_to_its_own_arithmetic": None,
    },
    "whole/test_wheel.py": {"test_calls_work_in_an_empty_folder": None},
}  # fmt: skip


def is_long(path: str, function: str, id: str | None) -> bool:
    """Tell whether a test is one of them, by its file under tests/, its function and the id of its parameters."""
    named = LONG.get(path, {})
    if function not in named:
        return False
    kept = named[function]
    return kept is None or id is None or not re.search(kept, id)
