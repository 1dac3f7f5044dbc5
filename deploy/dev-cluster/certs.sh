#!/usr/bin/env bash
# certs.sh DIR: every key, certificate and kubeconfig of the cluster, and a
# throw-away authority for the model server.
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"
mkdir -p "$1"
cd "$1"

key() { openssl ecparam -name prime256v1 -genkey -noout -out "$1.key"; }

authority() {
  key "$1"
  openssl req -x509 -new -key "$1.key" -subj "/CN=$1" -days 365 -out "$1.crt" \
    -addext keyUsage=critical,keyCertSign,cRLSign,digitalSignature
}

# cert NAME AUTHORITY SUBJECT [SUBJECT_ALTERNATIVE_NAMES]
cert() {
  key "$1"
  {
    echo basicConstraints=CA:FALSE
    echo keyUsage=digitalSignature
    echo extendedKeyUsage=clientAuth,serverAuth
    [ -z "${4:-}" ] || echo "subjectAltName=$4"
  } > "$1.ext"
  openssl req -new -key "$1.key" -subj "$3" |
    openssl x509 -req -CA "$2.crt" -CAkey "$2.key" -CAcreateserial -days 365 -extfile "$1.ext" -out "$1.crt"
}

# kubeconfig NAME: with all it needs inside, so that it can be copied away.
kubeconfig() {
  cat > "$1.kubeconfig" << YAML
apiVersion: v1
kind: Config
clusters:
- name: hearth-dev
  cluster: {server: "https://$NODE_IP:6443", certificate-authority-data: $(base64 -w0 ca.crt)}
users:
- name: $1
  user: {client-certificate-data: $(base64 -w0 "$1.crt"), client-key-data: $(base64 -w0 "$1.key")}
contexts:
- name: hearth-dev
  context: {cluster: hearth-dev, user: $1}
current-context: hearth-dev
YAML
}

for name in ca front-proxy-ca etcd-ca models-ca; do authority $name; done
key sa
openssl ec -in sa.key -pubout -out sa.pub
service=DNS:kubernetes.default
cert apiserver ca /CN=kube-apiserver "DNS:kubernetes,$service,$service.svc,$service.svc.cluster.local,DNS:localhost,IP:10.96.0.1,IP:127.0.0.1,IP:$NODE_IP"
cert apiserver-kubelet ca /O=system:masters/CN=kube-apiserver-kubelet-client
cert front-proxy front-proxy-ca /CN=front-proxy-client
cert etcd etcd-ca /CN=etcd IP:127.0.0.1
cert apiserver-etcd etcd-ca /CN=kube-apiserver
cert admin ca /O=system:masters/CN=admin
cert controller-manager ca /CN=system:kube-controller-manager
cert scheduler ca /CN=system:kube-scheduler
cert proxy ca /CN=system:kube-proxy
cert kubelet ca "/O=system:nodes/CN=system:node:$NODE" "DNS:$NODE,IP:$NODE_IP"
cert local-provisioner ca /CN=dev-cluster:local-provisioner
cert models models-ca "/CN=$MODELS_HOST" "DNS:$MODELS_HOST,DNS:$MODELS_HOST.cluster.local,DNS:localhost,IP:$MODELS_IP"
for name in admin controller-manager scheduler proxy kubelet local-provisioner; do kubeconfig $name; done
rm -f -- *.ext *.srl
