"""What `helm test` runs, in the operator's own image: does the operator answer as ready through its Service, and which version is it?"""

import sys
import time
import urllib.error
import urllib.request

URL, SECONDS = sys.argv[1], float(sys.argv[2])


def asked(path: str) -> tuple[int, str]:
    """Status and text of the answer; status 0 where there is none."""
    try:
        with urllib.request.urlopen(URL + path, timeout=5) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode().strip()
    except OSError as error:
        return 0, str(error)


end = time.monotonic() + SECONDS
while (ready := asked("/readyz"))[0] != 200:
    if time.monotonic() > end:
        sys.exit(f"{URL}/readyz: found {ready[0] or 'no answer'} ({ready[1]}) for {SECONDS:.0f} s; expected 200. See the operator's log.")
    time.sleep(1)
status, metrics = asked("/metrics")
builds = [line.split('version="')[1].split('"')[0] for line in metrics.splitlines() if line.startswith("medfinetune_operator_build_info{")]
if not builds:
    sys.exit(f"{URL}/metrics: found status {status} without medfinetune_operator_build_info; expected the operator's version. Is this the operator's Service?")
sys.stdout.write(f"medfinetune operator {builds[0]} is ready\n")
