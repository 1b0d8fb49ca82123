"""What styles are standardised by: the reference that ships, made of the public people listed for the prior.

    python -m benchmarks.style_reference          # rewrites src/sharedllm/evaluation/style_reference.json

Of each person the first 20,000 characters are read. None of them is one of those whom figures are made of.
"""

import json

from sharedllm.evaluation.style import SHIPPED, Reference
from sharedllm.text.public_people import public_people

CHARACTERS = 20_000


def main() -> None:
    reference = Reference.of(person.text[:CHARACTERS] for person in public_people("prior"))
    SHIPPED.write_text(json.dumps(reference.as_dict(), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print(f"{reference.people} people; {' '.join(reference.words)}; {' '.join(reference.signs)}")


if __name__ == "__main__":
    main()
