"""What spark-submit starts: the arguments are those of `python -m roberta_sentiment`."""

from roberta_sentiment.__main__ import main

if __name__ == "__main__":
    main()
