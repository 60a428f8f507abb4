# What the scripts share. Sourced, not run.
# shellcheck shell=bash

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

say() { printf '\033[1m==>\033[0m %s\n' "$*"; }
die() {
  printf '\033[1merror:\033[0m %s\n' "$*" >&2
  exit 1
}
have() { command -v "$1" >/dev/null 2>&1; }

# at_least 1.88 1.95.0: whether the second version is not before the first.
at_least() { [ "$(printf '%s\n%s\n' "$1" "$2" | sort -V | head -n 1)" = "$1" ]; }

# Is somebody listening on this port of this machine?
port_taken() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

# The first port from $1 on, that nobody listens on and that is not among the ports after it.
free_port() {
  local port=$1
  shift
  while port_taken "$port" || [[ " $* " == *" $port "* ]]; do port=$((port + 1)); done
  echo "$port"
}

# http_ok port path: whether the front there answers 200. Without curl, which a fresh machine has not.
http_ok() {
  local status
  {
    exec 3<>"/dev/tcp/127.0.0.1/$1" || return 1
    printf 'GET %s HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n' "$2" >&3
    IFS= read -r -t 2 status <&3 || return 1
    exec 3>&-
  } 2>/dev/null
  [[ $status == HTTP/1.1\ 200* ]]
}

# The library alone is not enough: it also needs its own copy of stddef.h, which Debian keeps in the -dev package.
has_libclang() {
  [ -n "${LIBCLANG_PATH:-}" ] && return
  compgen -G '/usr/lib/llvm-*/lib/clang/*/include/stddef.h' >/dev/null && return
  ! have apt-get && ldconfig -p 2>/dev/null | grep -q 'libclang[-.0-9]*\.so'
}

has_chromium() { [ -n "${STOA_CHROMIUM:-}" ] || have chromium; }

# Installs what is missing of what `run` or `test` needs: by apt, after saying so.
install_missing() {
  local missing=()
  # bindgen reads Redis's module header with libclang at every build of the module.
  has_libclang || missing+=(libclang-dev)
  have cc || missing+=(build-essential)
  have redis-server || missing+=(redis-server)
  # util-linux is part of every Debian; setpriv lets children die with the script.
  have setpriv || missing+=(util-linux)
  if [ "$1" = test ]; then
    have redis-cli || missing+=(redis-tools)
    # Makes the keys and certificates of the stories.
    have openssl || missing+=(openssl)
    has_chromium || missing+=(chromium)
  fi
  if [ ${#missing[@]} -gt 0 ]; then
    have apt-get || die "please install: ${missing[*]} (there is no apt-get here to do it)"
    local as_root=()
    if [ "$(id -u)" -ne 0 ]; then
      have sudo || die "please install as root: ${missing[*]}"
      as_root=(sudo)
    fi
    say "installing by apt${as_root[*]:+ (with sudo)}: ${missing[*]}"
    "${as_root[@]}" apt-get update -qq
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}"
  fi

  have cargo || die "Rust is needed (1.88 or newer): install it with rustup"
  local rust
  rust=$(cd "$root" && rustc --version | cut -d' ' -f2)
  at_least 1.88 "$rust" || die "Rust 1.88 or newer is needed, this is $rust: rustup update"

  { have node && have npm; } || die "Node.js with npm is needed (20 or newer)"
  local node
  node=$(node --version)
  at_least 20 "${node#v}" || die "Node.js 20 or newer is needed, this is $node"

  local redis
  redis=$(redis-server --version | sed -n 's/.* v=\([0-9.]*\).*/\1/p')
  at_least 7.0 "$redis" || die "Redis 7.0 or newer is needed, this is $redis"
}

# npm_install dir: what package-lock.json says, unless that is what is there already.
npm_install() {
  local stamp="$root/$1/node_modules/.stoa-installed"
  if [ ! -e "$stamp" ] || [ "$root/$1/package-lock.json" -nt "$stamp" ]; then
    say "npm ci in $1"
    (cd "$root/$1" && npm ci --no-audit --no-fund --loglevel=error)
    touch "$stamp"
  fi
}
