from search_spaces.errors import LENGTH, TombolaError, shortened


def test_a_message_of_any_length_is_told_in_a_few_lines() -> None:
    told = str(TombolaError(f"models.0: unknown model {'x' * 100_000}; known: vae"))
    assert len(told) < LENGTH + 100
    assert told.startswith("models.0: unknown model xxx")
    assert told.endswith("xxx; known: vae")


def test_a_short_message_is_told_as_it_is() -> None:
    assert str(TombolaError("x" * LENGTH)) == "x" * LENGTH
    assert shortened("abc", 3) == "abc"
