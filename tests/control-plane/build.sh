#!/bin/sh
# Finds or builds the binaries of a local Kubernetes control plane and prints the folder they are in.
#
#   build.sh [NAME...]        default: etcd kube-apiserver kubectl; any tool of the go.mod beside this file
#
# Looked for in this order: KUBEBUILDER_ASSETS, the cache folder of this version, a build with Go.
# Standard output is the folder and nothing else; everything for people goes to standard error.
set -eu

case $0 in */*) here=${0%/*} ;; *) here=. ;; esac
here=$(CDPATH='' cd -- "$here" && pwd)
[ $# -gt 0 ] || set -- etcd kube-apiserver kubectl

say() { printf '%s\n' "$*" >&2; }
fail() { say "$@"; exit 1; }

# Both versions are written in go.mod only. Shell built-ins only until Go is known to be there.
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

# The names of "$@" that folder $1 does not have.
missing_in() {
    folder=$1 list=''
    shift
    for name; do [ -x "$folder/$name" ] || list="$list $name"; done
    echo "${list# }"
}

if [ -n "${KUBEBUILDER_ASSETS:-}" ]; then
    missing=$(missing_in "$KUBEBUILDER_ASSETS" "$@")
    [ -z "$missing" ] || fail "KUBEBUILDER_ASSETS=$KUBEBUILDER_ASSETS lacks: $missing"
    echo "$KUBEBUILDER_ASSETS"
    exit 0
fi

[ -n "${XDG_CACHE_HOME:-}${HOME:-}" ] || fail "build.sh: set HOME or XDG_CACHE_HOME, for the folder of the binaries"
cache=${XDG_CACHE_HOME:-$HOME/.cache}/spice-cloud-operator/control-plane/$version
missing=$(missing_in "$cache" "$@")
if [ -z "$missing" ]; then
    echo "$cache"
    exit 0
fi

no_build() {
    fail "The tests and the demo run on a real Kubernetes control plane ($* $version), which is not on this machine and cannot be built: $reason.
Any one of these helps:
  - install Go ${go_wanted%.*} or newer, and this builds it once;
  - set KUBEBUILDER_ASSETS to a folder that has these binaries;
  - use an existing cluster: set KUBECONFIG, and USE_EXISTING_CLUSTER=true to say that it may be changed."
}

# GOTOOLCHAIN=local: an old Go would otherwise fetch a newer one behind the user's back. Asked from /, where no go.mod is.
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

about() {
    case $1 in
        etcd) echo "40 s" ;;
        kube-apiserver) echo "4 min" ;;
        kubectl) echo "25 s" ;;
        *) echo "1 to 2 min" ;;
    esac
}

mkdir -p "$cache"
building='' temporary="$cache/.building.$$" log="$cache/.log.$$" lock_folder=''
cleanup() {
    [ -z "$building" ] || kill "$building" 2>/dev/null || :
    rm -f "$temporary" "$log"
    [ -z "$lock_folder" ] || rm -rf "$lock_folder"
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

# One build at a time: a second run waits here and then finds the binaries.
waiting="Another run is building the control plane; waiting for it ..."
if command -v flock >/dev/null 2>&1; then
    exec 9>"$cache/.lock"
    flock -n 9 || { say "$waiting"; flock 9; }
else
    until mkdir "$cache/.lock.d" 2>/dev/null; do
        [ -z "$waiting" ] || say "$waiting"
        waiting=''
        # A run that was killed left its lock behind.
        owner=$(cat "$cache/.lock.d/pid" 2>/dev/null) || owner=''
        [ -z "$owner" ] || kill -0 "$owner" 2>/dev/null || rm -rf "$cache/.lock.d"
        sleep 1
    done
    lock_folder="$cache/.lock.d"
    echo $$ >"$lock_folder/pid"
fi
missing=$(missing_in "$cache" "$@")

if [ -n "$missing" ]; then
    say "Building a local Kubernetes control plane $version with Go $go_found; this happens once."
    for name in $missing; do say "  $name: about $(about "$name") on 2 cores"; done
    say "  disk: about 1.1 GB of Go modules, 2.8 GB of Go build cache, 200 MB of binaries in $cache"
fi
cd "$here"
for name in $missing; do
    say "building $name ..."
    started=$(date +%s)
    go build -mod=readonly -trimpath -ldflags "-s -w -X k8s.io/component-base/version.gitVersion=$version" \
        -o "$temporary" "$(package_of "$name")" >"$log" 2>&1 9>&- </dev/null &
    building=$!
    ticks=0
    while kill -0 "$building" 2>/dev/null; do
        sleep 1
        ticks=$((ticks + 1))
        [ $((ticks % 20)) -ne 0 ] || say "  still building $name, $(($(date +%s) - started)) s so far"
    done
    if ! wait "$building"; then
        building=''
        cat "$log" >&2
        fail "build.sh: $name could not be built; the lines above say why"
    fi
    building=''
    chmod 755 "$temporary"
    mv "$temporary" "$cache/$name"
    say "  $name is ready after $(($(date +%s) - started)) s"
done
echo "$cache"
