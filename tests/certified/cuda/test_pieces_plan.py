"""Codes in pieces: how large these are, and the order in which they come (certified/cuda/pieces.py)."""

from __future__ import annotations

import random

import pytest

from knnscope.certified.cuda.pieces import AMPLE, FEW_PLACES, FEWEST, LEAST_PLACES, PLACES, Places, pieces_of, room_of

BYTES = {"codes": 128 * 396, "plane": 8 * 1664}


@pytest.mark.parametrize("tiles", [1, 2, 7, 10, 255, 256, 257, 1094, 99_991])
@pytest.mark.parametrize("most", [1, 2, 3, 7, 16, 256, 5000])
def test_pieces_have_every_tile_once_and_two_sizes_at_most(tiles: int, most: int) -> None:
    pieces = pieces_of(tiles, most)
    assert [first for first, _ in pieces] == [0, *(last for _, last in pieces[:-1])]
    assert pieces[-1][1] == tiles
    sizes = [last - first for first, last in pieces]
    assert max(sizes) <= most
    assert len(set(sizes[:-1])) <= 1
    assert sizes[0] >= sizes[-1] >= sizes[0] / 2


@pytest.mark.parametrize("memory", [0, 1000, 10**8, 10**9, 60 * 2**30, 10**12])
@pytest.mark.parametrize("tiles", [40, 5000, 10**6])
def test_places_fill_the_memory_and_no_more_and_are_not_more_than_pieces(memory: int, tiles: int) -> None:
    room = room_of(memory, BYTES, tiles)
    least = min(FEWEST, tiles) * max(BYTES.values())
    assert room.size >= least
    assert room.size * room.places <= max(memory, LEAST_PLACES * least)
    pieces = sum(len(pieces_of(tiles, room.size // each)) for each in BYTES.values())
    assert room.places <= pieces
    everything = sum(tiles * each for each in BYTES.values())
    if everything > memory > FEW_PLACES * least:
        assert FEW_PLACES <= room.places <= PLACES
        assert room.size >= min(AMPLE, memory // FEW_PLACES)
        assert room.size * room.places > 0.8 * memory
    if memory > 2 * everything:
        assert room.places == pieces


def test_what_is_there_is_scanned_first_and_only_the_rest_comes() -> None:
    places = Places(4)
    for turn in range(5):
        steps = list(places.steps("codes", 10))
        scanned = [step.piece for step in steps if not step.comes]
        assert sorted(scanned) == list(range(10))
        assert sum(step.comes for step in steps) == (6 if turn else 10)
    assert sum(step.comes for step in places.steps("plane", 3)) == 3
    assert sum(step.comes for step in places.steps("plane", 3)) == 0
    assert sum(step.comes for step in places.steps("codes", 10)) == 9  # one of the four places was left to them


def test_the_first_pieces_come_at_once_and_each_other_as_soon_as_one_was_scanned() -> None:
    first = [step.comes for step in Places(3).steps("codes", 6)]
    assert first == [True] * 3 + [False, True] * 3 + [False] * 3


@pytest.mark.parametrize("seed", range(20))
def test_no_place_is_taken_from_a_piece_that_waits_whatever_was_there_and_where_searches_were_broken_off(
    seed: int,
) -> None:
    choice = random.Random(seed)
    count = choice.randint(2, 6)
    places, held = Places(count), dict[int, tuple[str, int]]()
    for _ in range(30):
        kind, pieces = choice.choice((("codes", 9), ("plane", 4)))
        breaks_off = choice.random() < 0.2
        waiting, scanned = dict[int, int](), list[int]()
        for step in places.steps(kind, pieces):
            if breaks_off and choice.random() < 0.2:
                if step.comes:
                    held.pop(step.place, None)  # it may have come in part
                break
            if step.comes:
                assert step.place not in waiting
                held[step.place] = kind, step.piece
                waiting[step.place] = step.piece
            else:
                assert held[step.place] == (kind, step.piece)
                waiting.pop(step.place, None)
                scanned.append(step.piece)
        else:
            assert sorted(scanned) == list(range(pieces))
