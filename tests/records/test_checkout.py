"""A run's commit is recorded wherever git can tell it; where it cannot, why is said."""

import os
import shutil
import subprocess

import pytest

from auxlearn.records import checkout

WHO = ("-c", "user.name=A", "-c", "user.email=a@b.c", "-c", "commit.gpgsign=false")


def git(folder, *arguments):
    done = subprocess.run(["git", *WHO, *arguments], cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    for name in [name for name in os.environ if name.startswith("GIT_")]:
        monkeypatch.delenv(name)
    checkout._environment.cache_clear()
    yield
    checkout._environment.cache_clear()


@pytest.fixture
def project(tmp_path):
    folder = tmp_path / "project"
    (folder / "lib" / "auxlearn").mkdir(parents=True)
    (folder / "lib" / "auxlearn" / "__init__.py").write_text("")
    (folder / "reports").mkdir()
    (folder / "reports" / "a.html").write_text("")
    git(folder, "init", "-q")
    return folder


def commit(folder):
    git(folder, "add", "-A")
    git(folder, "commit", "-qm", "one")
    return git(folder, "rev-parse", "HEAD")


def test_a_commit_and_whether_files_differ_from_it(project):
    head = commit(project)
    assert checkout.state(project) == {"commit": head, "dirty": False}
    (project / "new.py").write_text("")
    (project / "reports" / "a.html").write_text("changed")
    assert checkout.state(project) == {"commit": head, "dirty": False}
    (project / "lib" / "auxlearn" / "__init__.py").write_text("x = 1\n")
    assert checkout.state(project) == {"commit": head, "dirty": True}


@pytest.mark.skipif(os.getuid() != 0, reason="only root gives files away")
def test_a_checkout_of_another_user(project):
    head = commit(project)
    for path in (project, *project.rglob("*")):
        os.chown(path, 12345, 12345)
    assert subprocess.run(["git", "rev-parse", "HEAD"], cwd=project, capture_output=True).returncode != 0
    assert checkout.state(project) == {"commit": head, "dirty": False}


def test_a_worktree_and_a_shallow_clone(project, tmp_path):
    commit(project)
    (project / "a.py").write_text("")
    head = commit(project)
    git(project, "worktree", "add", "-q", str(tmp_path / "tree"))
    git(tmp_path, "clone", "-q", "--depth", "1", f"file://{project}", "shallow")
    for folder, shallow in ((project, False), (tmp_path / "tree", False), (tmp_path / "shallow", True)):
        assert checkout.state(folder) == {"commit": head, "dirty": False}
        assert checkout.shallow(folder) is shallow
    shutil.rmtree(project)  # as where a worktree alone is mounted in a container
    assert checkout.state(tmp_path / "tree") == {"unknown": "git cannot read the checkout"}


def test_no_commit_and_no_repository(project):
    assert "no commit yet" in checkout.state(project)["unknown"]
    commit(project)
    (project / ".git" / "index").write_bytes(b"broken")
    assert checkout.state(project) | {"commit": ""} == {
        "commit": "", "dirty": True, "unknown": "git cannot compare the files with the commit",
    }  # fmt: skip
    shutil.rmtree(project / ".git")
    assert "no git checkout" in checkout.state(project)["unknown"]
    assert str(project.parent) not in checkout.state(project)["unknown"]


def test_a_repository_around_the_project_is_not_its_own(project):
    """A download unpacked in a repository of the user's, or a wheel in its virtual environment."""
    shutil.rmtree(project / ".git")
    (project.parent / "notes.txt").write_text("")
    git(project.parent, "init", "-q")
    git(project.parent, "add", "notes.txt")
    git(project.parent, "commit", "-qm", "notes")
    assert checkout.state(project) == {"unknown": "no git checkout; the repository around it does not hold its files"}
    head = commit(project.parent)
    assert checkout.state(project) == {"commit": head, "dirty": False}


def test_a_hook_of_another_repository_misleads_nobody(project, tmp_path, monkeypatch):
    head, other = commit(project), tmp_path / "other"
    other.mkdir()
    git(other, "init", "-q")
    (other / "a").write_text("")
    assert commit(other) != head
    monkeypatch.setenv("GIT_DIR", str(other / ".git"))
    checkout._environment.cache_clear()
    assert checkout.state(project) == {"commit": head, "dirty": False}


def test_no_git(project, monkeypatch):
    commit(project)
    monkeypatch.setenv("PATH", "/nowhere")
    checkout._environment.cache_clear()
    assert checkout.state(project) == {"unknown": "git is not installed"}
