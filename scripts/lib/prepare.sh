# Makes this machine and this checkout ready: packages, a virtual environment, the
# extension. Sourced by the scripts beside it; does nothing that is already done.
#
#   prepare [clients] [machines] [screens]
#                      all of it, or one line on stderr and status 1; `clients`: also the
#                      servers and clients that tests/clients runs; `machines`: also what
#                      makes machines for the lab; `screens`: also what shows the page and
#                      the live view
#   say TEXT           a line about what is being done, on stderr
#   quietly COMMAND    runs it; its output is shown only if it fails
#
# Sets ROOT, the top of the checkout, and PYTHON, the environment's interpreter.

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
PYTHON=$ROOT/.venv/bin/python
STAMPS=$ROOT/.venv/stamps

say() { printf '%s\n' "$*" >&2; }

die() {
    say "$(basename "$0"): $*"
    exit 1
}

quietly() {
    local output status=0
    output=$("$@" 2>&1) || status=$?
    if ((status)); then
        printf '%s\n' "$output" >&2
        die "failed: $*"
    fi
}

# The packages that are missing here, by what each is needed for.
missing_packages() {
    local command package
    command -v python3 >/dev/null || echo python3
    python3 -c 'import ensurepip, venv' 2>/dev/null || echo python3-venv
    python3 - 2>/dev/null <<'PROBE' || echo python3-dev
import pathlib, sysconfig
assert (pathlib.Path(sysconfig.get_path("include")) / "Python.h").exists()
PROBE
    [[ -e /usr/include/stdio.h ]] || echo libc6-dev
    while read -r command package; do
        command -v "$command" >/dev/null || echo "$package"
    done <<'NEEDED'
cc gcc
iptables iptables
ip iproute2
haproxy haproxy
strace strace
tcpdump tcpdump
taskset util-linux
NEEDED
}

# The same for real clients and their servers.
missing_clients() {
    local command package
    compgen -G '/usr/lib/postgresql/*/bin/postgres' >/dev/null || echo postgresql
    while read -r command package; do
        command -v "$command" >/dev/null || echo "$package"
    done <<'NEEDED'
redis-server redis-server
redis-benchmark redis-tools
rabbitmq-server rabbitmq-server
socat socat
hatop hatop
prometheus-haproxy-exporter prometheus-haproxy-exporter
NEEDED
}

# The same for machines of the lab.
missing_machines() {
    local command
    for command in debootstrap vagrant; do
        command -v "$command" >/dev/null || echo "$command"
    done
}

# The same for what shows pages, terminals and completion.
missing_screens() {
    local command package
    while read -r command package; do
        command -v "$command" >/dev/null || echo "$package"
    done <<'NEEDED'
chromium chromium
chromedriver chromium-driver
tmux tmux
zsh zsh
fish fish
NEEDED
}

# Install with no questions and no service started, now or at the next boot: they are here to
# be tested with.
install_packages() {
    local policy=/usr/sbin/policy-rc.d made_policy=
    command -v apt-get >/dev/null || die "install these first (no apt-get here): $*"
    ((EUID == 0)) || die "run this as root once, or install: $*"
    say "installing $*"
    if [[ ! -e $policy ]]; then
        made_policy=yes
        # shellcheck disable=SC2064 # the path of now is meant
        trap "rm -f $policy" EXIT
        printf '#!/bin/sh\nexit 101\n' >"$policy"
        chmod 755 "$policy"
    fi
    export DEBIAN_FRONTEND=noninteractive
    if ! compgen -G '/var/lib/apt/lists/*_Packages*' >/dev/null; then
        quietly apt-get -qq update
    fi
    if ! apt-get -qq install -y --no-install-recommends "$@" >/dev/null 2>&1; then
        # The lists may be older than the archive.
        quietly apt-get -qq update
        quietly apt-get -qq install -y --no-install-recommends "$@"
    fi
    if command -v systemctl >/dev/null; then
        local package
        for package in haproxy postgresql redis-server rabbitmq-server \
            prometheus-haproxy-exporter; do
            if [[ " $* " == *" $package "* ]]; then
                systemctl --quiet disable "$package" >/dev/null 2>&1 || true
            fi
        done
    fi
    if [[ $made_policy ]]; then
        rm -f "$policy"
        trap - EXIT
    fi
}

# digest FILE...: one word for the contents of the files and the interpreter.
digest() {
    { python3 -VV && sha256sum "$@"; } | sha256sum | cut -d' ' -f1
}

is_stamped() { [[ -e $STAMPS/$1 && $(<"$STAMPS/$1") == "$2" ]]; }

# The files that the extension is made of.
native_sources() {
    find setup.py native -name '*.[ch]' -o -name '*.py' | LC_ALL=C sort
}

make_environment() {
    local wanted
    wanted=$(digest pyproject.toml)
    is_stamped environment "$wanted" && return
    say "making the Python environment"
    if ! [[ -x $PYTHON ]] || ! "$PYTHON" -m pip --version >/dev/null 2>&1; then
        quietly python3 -m venv --clear .venv
    fi
    local pip=("$PYTHON" -m pip --quiet --disable-pip-version-check)
    # What builds is in the environment too, so that a rebuild fetches nothing.
    quietly "${pip[@]}" install 'setuptools>=77' wheel 'cffi>=1.15'
    rm -f lbsplice/_native*.so
    quietly "${pip[@]}" install --no-build-isolation --editable '.[test]'
    mkdir -p "$STAMPS"
    native_digest >"$STAMPS/extension"
    printf '%s\n' "$wanted" >"$STAMPS/environment"
}

native_digest() {
    local files
    mapfile -t files < <(native_sources)
    digest "${files[@]}"
}

make_extension() {
    local wanted
    wanted=$(native_digest)
    if is_stamped extension "$wanted" && compgen -G 'lbsplice/_native*.so' >/dev/null; then
        return
    fi
    say "building the extension"
    rm -f lbsplice/_native*.so
    quietly "$PYTHON" setup.py --quiet build_ext --inplace --force
    printf '%s\n' "$wanted" >"$STAMPS/extension"
}

prepare() {
    [[ $(uname -s) == Linux ]] || die "lbsplice runs on Linux only"
    cd "$ROOT"
    local packages
    mapfile -t packages < <(
        missing_packages
        [[ " $* " != *" clients "* ]] || missing_clients
        [[ " $* " != *" machines "* ]] || missing_machines
        [[ " $* " != *" screens "* ]] || missing_screens
    )
    ((${#packages[@]} == 0)) || install_packages "${packages[@]}"
    python3 -c 'import sys; sys.exit(sys.version_info < (3, 10))' ||
        die "Python 3.10 or newer is needed; this is $(python3 -V)"
    mkdir -p build
    # One at a time: two scripts may be started together.
    exec 9>build/prepare.lock
    flock 9
    make_environment
    make_extension
    exec 9>&-
    export PATH=$ROOT/.venv/bin:$PATH
}
