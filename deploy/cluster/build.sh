#!/usr/bin/env bash
# Builds a Kubernetes control plane and KEDA from Go modules into FOLDER/bin, without a container or
# a registry of images; what is there already is kept. etcd comes from the system (Debian:
# etcd-server).
set -euo pipefail
FOLDER=${1:?usage: build.sh FOLDER}
KUBERNETES=1.34.4
KWOK=0.8.0
KEDA=2.21.0
PROGRAMS=(kube-apiserver kube-scheduler kube-controller-manager kubectl)

mkdir -p "$FOLDER/bin" "$FOLDER/kubernetes" "$FOLDER/kwok"
FOLDER=$(cd "$FOLDER" && pwd)
export GOFLAGS=-mod=mod

downloaded() { # MODULE@VERSION: the folder of its source
    go mod download -json "$1" | sed -n 's/^\t"Dir": "\(.*\)",$/\1/p'
}

kubernetes() {
    cd "$FOLDER/kubernetes"
    local source staged module
    source=$(downloaded "k8s.io/kubernetes@v$KUBERNETES")
    # Its go.mod takes its libraries from a folder of its own; published, they have versions 0.x.
    staged=$(sed -n 's/^\t\(k8s.io\/[a-z-]*\) => .\/staging.*/\1/p' "$source/go.mod")
    {
        echo "module cluster"
        sed -n '/^go /p' "$source/go.mod"
        echo "require k8s.io/kubernetes v$KUBERNETES"
        for module in $staged; do echo "replace $module => $module v0.${KUBERNETES#1.}"; done
    } >go.mod
    {
        echo "package cluster"
        printf 'import _ "k8s.io/kubernetes/cmd/%s"\n' "${PROGRAMS[@]}"
    } >tools.go
    go mod tidy
    local at=k8s.io/component-base/version flags
    flags="-s -w -X $at.gitVersion=v$KUBERNETES -X $at.gitMajor=1 -X $at.gitMinor=$(cut -d. -f2 <<<$KUBERNETES)"
    for program in "${PROGRAMS[@]}"; do
        echo "building $program" >&2
        go build -ldflags "$flags" -o "$FOLDER/bin/$program.new" "k8s.io/kubernetes/cmd/$program"
        mv "$FOLDER/bin/$program.new" "$FOLDER/bin/$program"
    done
}

kwok() {
    cd "$FOLDER/kwok"
    [[ -f go.mod ]] || go mod init kwok
    echo "building kwok" >&2
    go get "sigs.k8s.io/kwok/cmd/kwok@v$KWOK"
    go build -ldflags "-s -w" -o "$FOLDER/bin/kwok.new" sigs.k8s.io/kwok/cmd/kwok
    # How a node becomes ready and a pod runs: of its own, as what it needs to be told.
    local source
    source=$(downloaded "sigs.k8s.io/kwok@v$KWOK")
    : >"$FOLDER/bin/stages.yaml"
    for part in node/fast node/heartbeat pod/fast; do
        for file in "$source/kustomize/stage/$part"/*.yaml; do
            [[ $(basename "$file") == kustomization.yaml ]] && continue
            { cat "$file"; echo "---"; } >>"$FOLDER/bin/stages.yaml"
        done
    done
    mv "$FOLDER/bin/kwok.new" "$FOLDER/bin/kwok"
}

keda() { # in its own folder: what it replaces, and the sums of all modules, are in there
    local source program
    source=$(downloaded "github.com/kedacore/keda/v2@v$KEDA")
    mkdir -p "$FOLDER/bin/keda"
    cp "$source"/config/crd/bases/*.yaml "$FOLDER/bin/keda"
    for program in operator adapter; do
        echo "building KEDA's $program" >&2
        (cd "$source" && GOFLAGS=-mod=readonly go build -ldflags "-s -w" \
            -o "$FOLDER/bin/keda-$program.new" "./cmd/$program")
        mv "$FOLDER/bin/keda-$program.new" "$FOLDER/bin/keda-$program"
    done
}

[[ -x $FOLDER/bin/kubectl ]] || kubernetes
[[ -x $FOLDER/bin/kwok ]] || kwok
[[ -x $FOLDER/bin/keda-adapter ]] || keda
ls -l "$FOLDER/bin" >&2
