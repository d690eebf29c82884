"""The planted results, as fixtures."""

from __future__ import annotations

import pytest

from report.planted import CASES, special_case, told_case


@pytest.fixture(params=CASES)
def case(request):
    """Every odd case, as (analysis, frame)."""
    return CASES[request.param]()


@pytest.fixture
def special():
    return special_case()


@pytest.fixture
def told():
    return told_case()


@pytest.fixture
def two_arms():
    return CASES["two arms"]()


@pytest.fixture
def diverged():
    return CASES["diverged"]()


@pytest.fixture
def censored():
    return CASES["censored"]()


@pytest.fixture
def five_arms():
    return CASES["five arms"]()


@pytest.fixture
def nothing_converged():
    return CASES["nothing converged"]()
