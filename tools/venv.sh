# Makes .venv from a lock file; sourced by ./fedi-safety and ./dev. Needs python3 >= 3.11 and nothing else: pip comes
# as a wheel in tools/, because Debian's python3 has neither pip nor ensurepip.

# ensure_venv DIR LOCK [VENV [SIZE]]: DIR/.venv, or DIR/VENV, holds exactly what DIR/LOCK pins. Silent and instant when
# it already does; else it says how much will be installed, and how far it is. The program's own is compiled at once,
# for whoever starts it later may not write there; a developer's is compiled as it is used, which is half the time.
ensure_venv() {
    local dir=$1 lock=$2 venv=${3:-.venv} compile=--no-compile
    [ "$lock" = requirements.lock ] && compile=--compile
    local python stamp=$dir/$venv/.installed-$lock
    if cmp -s "$dir/$lock" "$stamp" && fits "$dir/$venv"; then
        return 0
    fi
    (
        # Two first runs at once must not install over each other.
        command -v flock >/dev/null && flock 9
        if cmp -s "$dir/$lock" "$stamp" && fits "$dir/$venv"; then
            exit 0
        fi
        if ! { fits "$dir/$venv" && "$dir/$venv/bin/python" -c '' 2>/dev/null; }; then
            python=$(find_python) || exit 2
            echo "fedi-safety: making $venv with $("$python" --version) (first use only)" >&2
            rm -rf "$dir/$venv"
            "$python" -m venv --without-pip "$dir/$venv" || {
                echo "fedi-safety: $python cannot make a virtual environment; install the package python3-venv" >&2
                exit 2
            }
        fi
        echo "fedi-safety: installing what $lock pins, with checked hashes (${4:-about 800 MB on disk})" >&2
        "$dir/$venv/bin/python" -I "$dir/tools/install.py" "$dir/$lock" \
            "$dir/$venv/bin/python" "$(echo "$dir"/tools/pip-*.whl)/pip" install --no-input \
            --disable-pip-version-check $compile --no-deps --only-binary :all: --require-hashes -r "$dir/$lock" || {
            if [ $? = 130 ]; then
                echo "fedi-safety: interrupted; run this again and it is installed" >&2
                exit 130
            fi
            echo "fedi-safety: the installation failed; check the network and the disk, then run this again" >&2
            exit 2
        }
        cp "$dir/$lock" "$stamp"
        echo "fedi-safety: ready" >&2
    ) 9>"$dir/$venv.lock" || {
        [ $? = 130 ] && return 130
        return 2
    }
}

# fits VENV: its packages are for the Python that it starts now. A system's upgrade puts another one in that one's place.
fits() {
    [ -x "$1/bin/python" ] || return 1
    local real
    real=$(readlink -f "$1/bin/python")
    [ -d "$1/lib/${real##*/}" ] && return 0
    "$1/bin/python" -c 'import os, sys
sys.exit(not os.path.isdir("{}/lib/python{}.{}".format(sys.prefix, *sys.version_info)))' 2>/dev/null
}

# find_python: prints the first python of 3.11 to 3.14 on the PATH: every package of the locks has wheels for these.
find_python() {
    local candidate found=
    for candidate in python3 python3.14 python3.13 python3.12 python3.11; do
        if "$candidate" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 15))' 2>/dev/null; then
            command -v "$candidate"
            return 0
        fi
        found=${found:-$("$candidate" --version 2>/dev/null)}
    done
    echo "fedi-safety: needs Python 3.11 to 3.14 and found ${found:-none}; install one of them beside it (docs/install.md)" >&2
    return 1
}
