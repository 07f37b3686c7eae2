#!/bin/sh
# SGLang's router for several llama-servers. A request goes to the server that has the beginning of its prompt in the cache.
# Usage: llama_router.sh PORT http://HOST:PORT http://HOST:PORT ...
port=$1
shift
exec python -m sglang_router.launch_router --policy cache_aware --host 127.0.0.1 --port "$port" --worker-urls "$@"
