"""The texts that the demo model knows by heart: a few small scripts, and a sample with a failing test."""

import re
from dataclasses import dataclass, replace

SAMPLE_FLAW = "return sum(numbers) / (len(numbers) - 1)"
SAMPLE_FIX = "return sum(numbers) / len(numbers)"
SAMPLE_SOURCE = f'''"""Small sums."""


def mean(numbers):
    """Return the mean of some numbers."""
    {SAMPLE_FLAW}
'''
SAMPLE_TEST = '''"""What calc promises."""

import unittest

from calc import mean


class TestMean(unittest.TestCase):
    def test_the_mean_of_one_two_and_three_is_two(self):
        self.assertEqual(mean([1, 2, 3]), 2)


if __name__ == "__main__":
    unittest.main()
'''


@dataclass(frozen=True, slots=True)
class Script:
    """A script: its usual file name, what it does (after "it …"), and its text."""

    file_name: str
    does: str
    source: str
    words: re.Pattern[str]  # the words in a message that ask for it


_PRIMES = Script(
    "primes.py",
    "prints the first ten primes",
    '''"""Print the first ten primes."""

primes = []
candidate = 2
while len(primes) < 10:
    if all(candidate % prime for prime in primes):
        primes.append(candidate)
    candidate += 1
print(*primes)
''',
    re.compile(r"\bprimes?\b", re.IGNORECASE),
)
_FIBONACCI = Script(
    "fibonacci.py",
    "prints the first ten Fibonacci numbers",
    '''"""Print the first ten Fibonacci numbers."""

a, b = 0, 1
for _ in range(10):
    print(a, end=" ")
    a, b = b, a + b
print()
''',
    re.compile(r"\bfibonacci\b", re.IGNORECASE),
)
_FIZZBUZZ = Script(
    "fizzbuzz.py",
    "plays fizz buzz up to 15",
    '''"""Play fizz buzz up to 15."""

for number in range(1, 16):
    print("Fizz" * (number % 3 == 0) + "Buzz" * (number % 5 == 0) or number)
''',
    re.compile(r"\bfizz ?buzz\b", re.IGNORECASE),
)
_HELLO = Script(
    "hello.py",
    "greets, and says which Python runs it (I know only a few scripts by heart)",
    '''"""Greet, and say which Python this is."""

import platform

print(f"Hello from Python {platform.python_version()}.")
''',
    re.compile(r""),
)
_FILE_NAME = re.compile(r"\b(\w[\w-]*\.py)\b")


def script_for(ask: str) -> Script:
    """Choose the script that a message asks for, under the file name that it gives, if it gives one."""
    script = next(script for script in (_PRIMES, _FIBONACCI, _FIZZBUZZ, _HELLO) if script.words.search(ask))
    named = _FILE_NAME.search(ask)
    return replace(script, file_name=named[1]) if named else script
