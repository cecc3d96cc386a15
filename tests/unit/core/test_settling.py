from services.core.settling import Settling


def settled_after(latencies: list[float]) -> int | None:
    settling = Settling()
    for number, seconds in enumerate(latencies, 1):
        settling.observe(seconds)
        if settling.settled:
            return number
    return None


def test_latencies_that_fall_have_not_settled_until_they_do() -> None:
    falling = [0.1 * 0.8**i for i in range(20)]
    after = settled_after([*falling, *[0.001] * 40])
    assert after is not None
    assert 30 <= after <= 40


def test_a_steady_version_is_settled_after_two_windows() -> None:
    assert settled_after([0.01] * 20) == 16


def test_a_hiccup_changes_nothing() -> None:
    assert settled_after([*[0.01] * 10, 0.5, *[0.01] * 10]) == 16


def test_too_few_say_nothing() -> None:
    settling = Settling()
    assert (settling.settled, settling.count, settling.first_s, settling.last_s) == (False, 0, 0.0, 0.0)
    assert settled_after([0.01] * 15) is None
