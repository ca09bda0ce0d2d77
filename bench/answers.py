"""Answers of the API, as programs read them."""

import json
from collections.abc import Mapping

TOLERANCE = 1e-6  # of every number of an answer


def read_answer(stream: str) -> object:
    """Returns the result at the end of an event stream.

    Raises:
        RuntimeError: when the stream does not end in a result.
    """
    *_, event, data = ["", "", *stream.strip().split("\n")]
    if event != "event: complete":
        raise RuntimeError(f"the API answered {event or 'nothing'}, {data}"[:200])
    return json.loads(data.removeprefix("data: "))[0]


def is_equal(answer: object, serial: object) -> bool:
    """Returns whether two results are the same: numbers with a fraction to TOLERANCE, all else exactly."""
    if isinstance(answer, Mapping) and isinstance(serial, Mapping):
        return answer.keys() == serial.keys() and all(is_equal(answer[key], serial[key]) for key in answer)
    if isinstance(answer, list) and isinstance(serial, list):
        return len(answer) == len(serial) and all(map(is_equal, answer, serial))
    if isinstance(answer, float) and isinstance(serial, float):
        return abs(answer - serial) <= TOLERANCE
    return type(answer) is type(serial) and answer == serial
