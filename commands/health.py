"""Health checks of the services in docker-compose.yml; imports next to nothing, as they run often.

`python -m polymine.commands.health URL` asks an address for status 200: the API's `/api/ready`, a
worker's `/health`. `python -m polymine.commands.health services` asks Redis when Prefect's
background services gave their last sign of life: they serve no address, but the docket they work on
notes one every other second. Exit status 1 with a line that says why if not.
"""

import os
import sys
import time

DOCKET = "prefect:workers"  # `prefect server services start` calls its docket so, the API does not
SILENCE = 30.0  # seconds; docket itself gives a worker up after 10


def check_address(url: str) -> str | None:
    """Return what is wrong with an address, None if it answers with 200."""
    import httpx

    try:
        response = httpx.get(url, timeout=10, trust_env=False)
    except httpx.HTTPError as error:
        return f"{url}: {error}"
    return None if response.status_code == 200 else f"{url}: status {response.status_code}"


def check_services() -> str | None:
    """Return what is wrong with the background services, None if they were alive just now."""
    import redis

    if not (url := os.environ.get("PREFECT_SERVER_DOCKET_URL")):
        return "PREFECT_SERVER_DOCKET_URL is not set"
    try:
        with redis.Redis.from_url(url, socket_timeout=5, socket_connect_timeout=5) as client:
            signs = client.zrange(DOCKET, -1, -1, withscores=True)
    except redis.RedisError as error:
        return f"Redis: {error}"
    silence = time.time() - signs[0][1] if signs else None
    if silence is None or silence > SILENCE:
        since = "ever" if silence is None else f"for {silence:.0f} s"
        return f"the background services gave no sign of life {since}"
    return None


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m polymine.commands.health URL|services")
    sys.exit(check_services() if sys.argv[1] == "services" else check_address(sys.argv[1]))
