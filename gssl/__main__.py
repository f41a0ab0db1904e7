"""`python -m gssl`."""

from gssl.cli import run

if __name__ == "__main__":
    run()
