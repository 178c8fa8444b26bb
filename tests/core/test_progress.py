import pytest

from core import events
from core.runs.progress import fold
from core.training.pace import Pace


def step(number, loss=1.0, left=10.0):
    return events.Step(
        step=number, epoch=number / 10, loss=loss, learning_rate=1e-4, rows_per_second=5, seconds_left=left
    )


def test_events_become_curves_and_a_share_done():
    progress = fold(
        [
            events.Started(device={"kind": "cpu"}),
            events.Prepared(rows={"train": 7, "validation": 2, "test": 1}, findings=[]),
            events.Phase(name="training"),
            events.Planned(steps=10, epochs=1, parameters=9, trainable=9),
            step(1, 2.0),
            step(5, 1.0),
            events.Evaluated(step=5, epoch=0.5, loss=1.1, metric="macro_f1", value=0.6, best=True),
        ]
    )
    assert progress.losses == [(1, 2.0), (5, 1.0)]
    assert progress.evaluations == [(5, 1.1, 0.6, True)]
    assert 0.4 < progress.fraction < 0.6
    assert progress.seconds_left == 10.0


def test_progress_goes_on_and_ends_at_one():
    progress = fold([events.Started(device={}), events.Planned(steps=2, epochs=1, parameters=1, trainable=1), step(1)])
    progress = fold([step(2), events.Phase(name="testing"), events.Finished(seconds=3)], progress)
    assert len(progress.losses) == 2
    assert progress.fraction == 1.0
    assert progress.seconds_left is None


def test_a_part_that_takes_long_tells_its_rows_and_the_next_one_begins_at_none():
    told = [events.Phase(name="testing"), events.Phase(name="testing", done=3, total=9)]
    progress = fold([events.Started(device={}), *told])
    assert (progress.phase, progress.done, progress.total) == ("testing", 3, 9)
    progress = fold([events.Phase(name="saving")], progress)
    assert (progress.phase, progress.done, progress.total) == ("saving", 0, 0)


def test_a_new_attempt_begins_anew():
    progress = fold([events.Started(device={}), step(4), events.Started(device={}), step(1)])
    assert progress.losses == [(1, 1.0)]


def paced(now, **more):
    """Ten steps of 8 rows with two evaluations, of which five steps of two seconds are done."""
    pace = Pace(10, 2, 8, validated=24, clock=lambda: now[0], **more)
    pace.start()
    now[0] = 60.0  # the first step sets things up and must not count
    pace.step()
    for _ in range(4):
        now[0] += 2.0
        pace.step()
    return pace


def test_time_left_counts_steps_evaluations_with_their_saving_and_the_final_test():
    now = [0.0]
    pace = paced(now, read_after=12, opening=7.0)
    # A row is read in a third of the time in which it is learned from.
    assert pace.seconds_left() == pytest.approx(5 * 2.0 + 2 * 24 * (2 / 8) / 3 + 12 * (2 / 8) / 3 + 7.0)
    now[0] += 4.0
    pace.evaluated(4.0)
    now[0] += 1.0
    pace.resume()
    assert pace.rows_per_second() == 4.0
    assert pace.seconds_left() == pytest.approx(5 * 2.0 + (4.0 + 1.0) + 4.0 / 2 + 7.0)


def test_what_was_measured_of_the_final_test_counts_and_states_are_saved_as_often_as_before():
    now = [0.0]
    pace = paced(now, read_after=12, testing=300.0)
    pace.evaluated(0.0)
    pace.resume()
    now[0] += 6.8  # a tenth of all steps until now
    pace.resume()
    assert pace.seconds_left() == pytest.approx(5 * 2.0 * 1.1 + 300.0)


def test_reports_are_half_a_second_apart():
    now = [0.0]
    pace = Pace(steps=9, evaluations=1, rows_per_step=1, clock=lambda: now[0])
    pace.start()
    due = []
    for _ in range(8):
        now[0] += 0.2
        pace.step()
        due.append(pace.due())
    assert due == [True, False, False, True, False, False, True, False]
