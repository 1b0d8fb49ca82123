"""What is asked of the engine beside its peers."""

from benchmarks.serving_contenders import never_read


def test_no_two_turns_begin_alike_so_that_nothing_is_found_that_was_read_in_another():
    prompts = [[1, 2, 3], [4, 5, 6]]
    turns = [never_read(prompts, turn) for turn in range(5)]
    for person, prompt in enumerate(prompts):
        assert len({asked[person][0] for asked in turns}) == 5
        assert all(asked[person][1:] == prompt[1:] for asked in turns)
