#!/usr/bin/env bash
# Runs a command beside a real Kubernetes API server: tests/real/kube.sh COMMAND...
# kube-apiserver 1.20.2 is built from Debian 12's source package (4 minutes once, 110 MB in $HEADGATE_REAL_HOME or
# ~/.cache/headgate-real), and runs on Debian's etcd, on 127.0.0.1 and free ports. No kubelet and no controllers.
# REAL_KUBE_CONFIG has two contexts: `admin` may do all, `reader` has the Role of deploy/kubernetes in `default`.
# REAL_KUBE_SERVICE_ACCOUNT has the files that a pod finds. Another cluster: set both yourself and leave this script out.
set -euo pipefail
. "$(dirname "$0")/debian.sh"
[ $# -gt 0 ] || { sed -n '2,6s/^# //p' "$0"; exit 2; }
manifests=$(realpath "$(dirname "$0")/../../deploy/kubernetes")
release=1.20.5+really1.20.2-1.1+deb12u1

fetch() {
  apt_of bookworm
  unpack etcd-server
  mv root/usr/bin/etcd "$bin/"
  unpack golang-1.19-go golang-1.19-src golang-github-modern-go-reflect2-dev
  private_apt source --download-only "kubernetes=$release"
  local project=k8s.io/kubernetes tree=$PWD/go/src/k8s.io/kubernetes reflect=github.com/modern-go/reflect2 api
  mkdir -p "$tree"
  tar -xzf kubernetes_*.orig.tar.gz -C "$tree" --strip-components 1
  # The vendored reflect2 crashes on Go 1.18 and newer as soon as a custom resource is written.
  rm -r "${tree:?}/vendor/$reflect"
  cp -r "root/usr/share/gocode/src/$reflect" "$tree/vendor/$reflect"
  export GOROOT=$PWD/root/usr/lib/go-1.19 GOPATH=$PWD/go GOCACHE=$PWD/cache HOME=$PWD TMPDIR=$PWD
  export GO111MODULE=off CGO_ENABLED=0 GOENV=off GOFLAGS= PATH=$PWD/root/usr/lib/go-1.19/bin:$PATH
  local top=$PWD
  cd "$tree"
  # One file is generated and not in the source: what the server's OpenAPI is made from.
  go build -o "$top/openapi-gen" ./vendor/k8s.io/kube-openapi/cmd/openapi-gen
  api=$(grep -rl --include='*.go' '+k8s:openapi-gen=' pkg staging/src/k8s.io | grep -vE '/(code-generator|sample-apiserver)/' |
    xargs -n1 dirname | sort -u | sed "s#^staging/src#vendor#; s#^#$project/#" | paste -sd,)
  "$top/openapi-gen" -i "$api" -p $project/pkg/generated/openapi -O zz_generated.openapi \
    -h hack/boilerplate/boilerplate.generatego.txt -r "$top/report"
  local stamp='' each
  for each in component-base client-go/pkg; do
    stamp+=" -X $project/vendor/k8s.io/$each/version.gitVersion=v1.20.2"
    stamp+=" -X $project/vendor/k8s.io/$each/version.gitMajor=1 -X $project/vendor/k8s.io/$each/version.gitMinor=20"
  done
  go build -trimpath -ldflags "-s -w$stamp" -o "$top/kube-apiserver" ./cmd/kube-apiserver
  mv "$top/kube-apiserver" "$bin/"
}

keys() { # an authority, the server's certificate, the key of service accounts, the admin's token
  openssl req -x509 -newkey rsa:2048 -nodes -days 30 -subj /CN=real -keyout ca.key -out ca.crt \
    -addext keyUsage=critical,keyCertSign
  openssl req -newkey rsa:2048 -nodes -subj /CN=kube-apiserver -keyout server.key -out server.csr
  printf 'subjectAltName=IP:%s,DNS:localhost\nextendedKeyUsage=serverAuth\n' $here >server.ext
  openssl x509 -req -in server.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 30 -extfile server.ext -out server.crt
  openssl genrsa -out accounts.key 2048
  openssl rand -hex 20 >admin.token
  echo "$(<admin.token),admin,admin,system:masters" >tokens.csv
  echo "Authorization: Bearer $(<admin.token)" >admin.header
}

call() { # VERB PATH [TYPE BODY], as the admin
  curl -sS --fail-with-body --noproxy '*' --max-time 10 --cacert ca.crt -H @admin.header -X "$1" "https://$here:$port$2" \
    ${3:+-H "Content-Type: $3" --data-binary "$4"}
}

apply() { call PATCH "$1?fieldManager=tests&force=true" application/apply-patch+yaml "$2" >/dev/null; }

document() { # KIND: that document of the reader's manifest
  awk -v kind="kind: $1" 'BEGIN { RS = "---\n" } $0 ~ "(^|\n)" kind "\n" { print }' "$manifests/reader.yaml"
}

endpoint_slices() { # 1.20 has v1beta1 only, which is turned off; a custom resource of its name serves v1
  echo '{apiVersion: apiextensions.k8s.io/v1, kind: CustomResourceDefinition, metadata: {
    name: endpointslices.discovery.k8s.io, annotations: {api-approved.kubernetes.io: "unapproved, for tests"}},
    spec: {group: discovery.k8s.io, scope: Namespaced,
    names: {plural: endpointslices, singular: endpointslice, kind: EndpointSlice, listKind: EndpointSliceList},
    versions: [{name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object,
    x-kubernetes-preserve-unknown-fields: true}}}]}}'
}

configuration() { # TOKEN of the reader
  cat <<END
apiVersion: v1
kind: Config
current-context: reader
clusters: [{name: real, cluster: {server: "https://$here:$port", certificate-authority: ca.crt}}]
users: [{name: admin, user: {token: $(<admin.token)}}, {name: reader, user: {token: $1}}]
contexts:
- {name: admin, context: {cluster: real, user: admin, namespace: default}}
- {name: reader, context: {cluster: real, user: reader, namespace: default}}
END
}

for each in curl openssl; do type "$each" >/dev/null 2>&1 || fail "needs $each"; done
installed kube-apiserver fetch
read -r port store peer < <(free_ports 3)
umask 077
start=$PWD
cd "$run"
keys >keys.log 2>&1 || fail "no keys: $(tail -n 3 keys.log)"
serve etcd "$bin/etcd" --name real --data-dir "$run/etcd" --listen-client-urls "http://$here:$store" \
  --advertise-client-urls "http://$here:$store" --listen-peer-urls "http://$here:$peer" \
  --initial-advertise-peer-urls "http://$here:$peer" --initial-cluster "real=http://$here:$peer"
until_answers etcd curl -sf --noproxy '*' "http://$here:$store/health"
serve apiserver "$bin/kube-apiserver" --bind-address=$here --secure-port="$port" --advertise-address=$here \
  --endpoint-reconciler-type=none --etcd-servers="http://$here:$store" --authorization-mode=RBAC \
  --tls-cert-file=server.crt --tls-private-key-file=server.key --token-auth-file=tokens.csv \
  --disable-admission-plugins=ServiceAccount --service-account-issuer=https://kubernetes.default.svc \
  --service-account-key-file=accounts.key --service-account-signing-key-file=accounts.key \
  --service-cluster-ip-range=10.96.0.0/16 --runtime-config=discovery.k8s.io/v1beta1=false
until_answers apiserver call GET /readyz
# It says that it is ready a moment before it takes custom resources.
until_answers apiserver apply /apis/apiextensions.k8s.io/v1/customresourcedefinitions/endpointslices.discovery.k8s.io "$(endpoint_slices)"
space=namespaces/default
rights=/apis/rbac.authorization.k8s.io/v1/$space
apply /api/v1/$space/serviceaccounts/headgate '{apiVersion: v1, kind: ServiceAccount, metadata: {name: headgate}}'
apply $rights/roles/headgate-registry "$(document Role)"
apply $rights/rolebindings/headgate-registry "$(document RoleBinding)"
until_answers apiserver call GET /apis/discovery.k8s.io/v1/$space/endpointslices
token=$(call POST /api/v1/$space/serviceaccounts/headgate/token application/json '{"spec": {"expirationSeconds": 86400}}' |
  python3 -c 'import json, sys; print(json.load(sys.stdin)["status"]["token"])')
configuration "$token" >kubeconfig
mkdir account
printf %s "$token" >account/token
printf default >account/namespace
cp ca.crt account/
export REAL_KUBE_CONFIG=$run/kubeconfig REAL_KUBE_SERVICE_ACCOUNT=$run/account REAL_KUBE_URL=https://$here:$port
cd "$start"
"$@"
