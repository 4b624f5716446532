# One job a notebook cell of a study. `auxlearn study FILE` writes the plan that is read here and calls Snakemake with
# `--directory <run folder> --config plan=<plan.json> --rerun-triggers params input`.
#
# A job's output is its manifest, which the notebook writes last; its executed notebook is a log, so that a failed job
# leaves it behind. `key` and `code` are params: what they call stale is what the notebooks themselves call stale.
import json
import sys

with open(config["plan"]) as file:
    CELLS = {(cell["stage"], cell["key"]): cell for cell in json.load(file)["cells"]}
# In the order of the study file, so that its first primary is finished first; a comparison as soon as it can be made.
PRIORITY = {at: len(CELLS) * (1 + (at[0] == "07_efficiency")) - i for i, at in enumerate(CELLS)}


def cell(wildcards):
    return CELLS[wildcards.stage, wildcards.key]


wildcard_constraints:
    stage=r"\d\d_\w+",
    key=r"[0-9a-f]{16}",


rule all:
    input:
        [f"{stage}/{key}/manifest.json" for stage, key in CELLS],


rule notebook:
    input:
        lambda w: [f"{stage}/{key}/manifest.json" for stage, key in cell(w)["reads"]],
    output:
        "{stage}/{key}/manifest.json",
    log:
        "{stage}/{key}/notebook.ipynb",
    params:
        key=lambda w: w.key,
        code=lambda w: cell(w)["code"],
        python=sys.executable,
        notebook=lambda w: f"{config['notebooks']}/{w.stage}.ipynb",
    priority: lambda w: PRIORITY[w.stage, w.key]
    threads: lambda w: cell(w)["threads"]
    resources:
        gpu=lambda w: cell(w)["gpus"],
    shell:
        # `exec`, so that the job's parent is the process that started it, and its end is the job's
        "exec env OMP_NUM_THREADS={threads} {params.python:q} -m auxlearn.studies.engine.job --parent $PPID --gpus {resources.gpu}"
        " {params.notebook:q} {wildcards.stage}/{wildcards.key}"
