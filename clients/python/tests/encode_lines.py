"""For test/system/python-client.test.ts: a job in JSON a line in, and out for each its bytes or what is wrong with it. First a
line with the codes."""

import json
import sys

from usher_client import CODES, RefusedError, encode_fields


def main() -> None:
    print(json.dumps({code: [info.retryable, info.wire] for code, info in CODES.items()}))
    for line in sys.stdin:
        try:
            print(encode_fields(json.loads(line)).hex())
        except RefusedError as error:
            print(json.dumps([error.code, error.details["field"], error.details.get("detail")]))


if __name__ == "__main__":
    main()
