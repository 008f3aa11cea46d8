#!/bin/sh
# Finds or builds the binaries of a local Kubernetes control plane, and prints their directory.
#
#   build.sh [NAME...]        default: etcd kube-apiserver kubectl; each NAME must be a tool in go.mod in this directory
#
# Sources, in this order: the directory KUBEBUILDER_ASSETS, the cache directory of the pinned version, a build with Go.
# Standard output contains only the directory. All messages go to standard error.
set -eu

case $0 in */*) here=${0%/*} ;; *) here=. ;; esac
here=$(CDPATH='' cd -- "$here" && pwd)
[ $# -gt 0 ] || set -- etcd kube-apiserver kubectl

log() { printf '%s\n' "$*" >&2; }
fail() { log "$@"; exit 1; }

# go.mod pins the versions of Go and Kubernetes. This part uses shell built-ins only: a minimal machine must get the
# error messages below.
version='' go_wanted='' tools=' '
while read -r first second _; do
    case $first in
        go) go_wanted=$second ;;
        k8s.io/kubernetes) version=$second ;;
        k8s.io/kubernetes/cmd/* | go.etcd.io/etcd/server/v3) [ -n "$second" ] || tools="$tools$first " ;;
    esac
done <"$here/go.mod"

package_of() {
    case $1 in
        etcd) echo go.etcd.io/etcd/server/v3 ;;
        *) echo "k8s.io/kubernetes/cmd/$1" ;;
    esac
}

for name; do
    case $tools in
        *" $(package_of "$name") "*) ;;
        *) fail "build.sh: $name is not a tool of tests/control-plane/go.mod" ;;
    esac
done

# Prints the binaries of "$@" that directory $1 does not contain.
missing_in() {
    directory=$1 list=''
    shift
    for name; do [ -x "$directory/$name" ] || list="$list $name"; done
    echo "${list# }"
}

if [ -n "${KUBEBUILDER_ASSETS:-}" ]; then
    missing=$(missing_in "$KUBEBUILDER_ASSETS" "$@")
    [ -z "$missing" ] || fail "KUBEBUILDER_ASSETS=$KUBEBUILDER_ASSETS lacks: $missing"
    echo "$KUBEBUILDER_ASSETS"
    exit 0
fi

[ -n "${XDG_CACHE_HOME:-}${HOME:-}" ] || fail "build.sh: set HOME or XDG_CACHE_HOME; the binaries are stored there"
cache=${XDG_CACHE_HOME:-$HOME/.cache}/spice-cloud-operator/control-plane/$version
missing=$(missing_in "$cache" "$@")
if [ -z "$missing" ]; then
    echo "$cache"
    exit 0
fi

no_build() {
    fail "The tests and the demo require a Kubernetes control plane ($* $version). It is not installed and cannot be built: $reason.
Choose one of these solutions:
  - install Go ${go_wanted%.*} or newer; this script then builds the binaries once;
  - set KUBEBUILDER_ASSETS to a directory with these binaries;
  - use an existing cluster: set KUBECONFIG, and set USE_EXISTING_CLUSTER=true to allow changes in this cluster."
}

# GOTOOLCHAIN=local: without this, an old Go would download a newer Go. The version is read in /, which has no go.mod.
export GOTOOLCHAIN=local GOWORK=off GOFLAGS='' CGO_ENABLED=0
reason="there is no Go"
command -v go >/dev/null 2>&1 || no_build "$@"
go_found=$(cd / && go env GOVERSION 2>/dev/null) || go_found=''
go_found=${go_found#go}
go_minor=${go_found#*.}
go_minor=${go_minor%%[!0-9]*}
wanted_minor=${go_wanted#*.}
wanted_minor=${wanted_minor%%[!0-9]*}
reason="Go ${go_found:-of unknown version} is older than ${go_wanted%.*}"
[ "${go_minor:-0}" -ge "$wanted_minor" ] || no_build "$@"

duration_of() {
    case $1 in
        etcd) echo "40 s" ;;
        kube-apiserver) echo "4 min" ;;
        kubectl) echo "25 s" ;;
        *) echo "1 to 2 min" ;;
    esac
}

mkdir -p "$cache"
building='' temporary="$cache/.building.$$" build_log="$cache/.log.$$" lock_directory=''
cleanup() {
    [ -z "$building" ] || kill "$building" 2>/dev/null || :
    rm -f "$temporary" "$build_log"
    [ -z "$lock_directory" ] || rm -rf "$lock_directory"
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

# One build at a time: a second run waits here, and then finds the binaries in the cache.
waiting="Waiting for another run that builds the control plane ..."
if command -v flock >/dev/null 2>&1; then
    exec 9>"$cache/.lock"
    flock -n 9 || { log "$waiting"; flock 9; }
else
    until mkdir "$cache/.lock.d" 2>/dev/null; do
        [ -z "$waiting" ] || log "$waiting"
        waiting=''
        # Remove the lock of a killed run.
        owner=$(cat "$cache/.lock.d/pid" 2>/dev/null) || owner=''
        [ -z "$owner" ] || kill -0 "$owner" 2>/dev/null || rm -rf "$cache/.lock.d"
        sleep 1
    done
    lock_directory="$cache/.lock.d"
    echo $$ >"$lock_directory/pid"
fi
missing=$(missing_in "$cache" "$@")

if [ -n "$missing" ]; then
    log "Building a local Kubernetes control plane $version with Go $go_found. Later runs use the result."
    for name in $missing; do log "  $name: about $(duration_of "$name") on 2 cores"; done
    log "  disk: about 1.1 GB of Go modules, 2.8 GB of Go build cache, 200 MB of binaries in $cache"
fi
cd "$here"
for name in $missing; do
    log "Building $name ..."
    started=$(date +%s)
    go build -mod=readonly -trimpath -ldflags "-s -w -X k8s.io/component-base/version.gitVersion=$version" \
        -o "$temporary" "$(package_of "$name")" >"$build_log" 2>&1 9>&- </dev/null &
    building=$!
    ticks=0
    while kill -0 "$building" 2>/dev/null; do
        sleep 1
        ticks=$((ticks + 1))
        [ $((ticks % 20)) -ne 0 ] || log "  still building $name after $(($(date +%s) - started)) s"
    done
    if ! wait "$building"; then
        building=''
        cat "$build_log" >&2
        fail "build.sh: the build of $name failed; see the lines above"
    fi
    building=''
    chmod 755 "$temporary"
    mv "$temporary" "$cache/$name"
    log "  built $name in $(($(date +%s) - started)) s"
done
echo "$cache"
