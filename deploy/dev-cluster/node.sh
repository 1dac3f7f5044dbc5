#!/usr/bin/env bash
# Process 1 of the node's namespaces: starts every component, starts again what
# ends, and waits. When it is killed, all of it is gone.
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"
pki=$RUN/pki

mount --make-rshared /
# The device plugins' folder is compiled into kubelet and plugins alike: give the
# namespace a /var/lib/kubelet of its own.
mount --bind "$RUN/kubelet" /var/lib/kubelet
# Names of the Pods' network namespaces: on the host they would outlive the node.
mkdir -p /run/netns
mount -t tmpfs -o size=1m tmpfs /run/netns
touch "$SHORT/namespaces"
until [ -e "$SHORT/wired" ]; do sleep 0.02; done
sysctl -qw net.ipv4.ip_forward=1

keep() {
  local name=$1
  shift
  while true; do
    "$@" >> "$RUN/logs/$name.log" 2>&1 < /dev/null || true
    echo "node: $name ended, starting it again" >> "$RUN/logs/$name.log"
    sleep 1
  done &
}

ready() { curl -sf --cacert "$pki/ca.crt" --cert "$pki/admin.crt" --key "$pki/admin.key" "https://$NODE_IP:6443/readyz" > /dev/null; }

# Data is wiped at every start, so nothing is lost by not waiting for the disk.
keep etcd etcd --name node --data-dir "$RUN/etcd" --unsafe-no-fsync --log-level warn \
  --listen-client-urls https://127.0.0.1:2379 --advertise-client-urls https://127.0.0.1:2379 \
  --listen-peer-urls http://127.0.0.1:2380 --initial-advertise-peer-urls http://127.0.0.1:2380 --initial-cluster node=http://127.0.0.1:2380 \
  --client-cert-auth --trusted-ca-file "$pki/etcd-ca.crt" --cert-file "$pki/etcd.crt" --key-file "$pki/etcd.key"
keep kube-apiserver kube-apiserver --advertise-address "$NODE_IP" --bind-address "$NODE_IP" --secure-port 6443 --allow-privileged \
  --etcd-servers https://127.0.0.1:2379 --etcd-cafile "$pki/etcd-ca.crt" --etcd-certfile "$pki/apiserver-etcd.crt" --etcd-keyfile "$pki/apiserver-etcd.key" \
  --client-ca-file "$pki/ca.crt" --tls-cert-file "$pki/apiserver.crt" --tls-private-key-file "$pki/apiserver.key" \
  --kubelet-certificate-authority "$pki/ca.crt" --kubelet-client-certificate "$pki/apiserver-kubelet.crt" --kubelet-client-key "$pki/apiserver-kubelet.key" \
  --kubelet-preferred-address-types InternalIP --authorization-mode Node,RBAC --enable-admission-plugins NodeRestriction \
  --service-cluster-ip-range "$SERVICE_CIDR" --service-account-issuer https://kubernetes.default.svc \
  --service-account-key-file "$pki/sa.pub" --service-account-signing-key-file "$pki/sa.key" \
  --requestheader-client-ca-file "$pki/front-proxy-ca.crt" --requestheader-allowed-names front-proxy-client \
  --requestheader-username-headers X-Remote-User --requestheader-group-headers X-Remote-Group --requestheader-extra-headers-prefix X-Remote-Extra- \
  --proxy-client-cert-file "$pki/front-proxy.crt" --proxy-client-key-file "$pki/front-proxy.key"
keep containerd containerd --config "$RUN/containerd.toml"

until node_ctr version > /dev/null 2>&1; do sleep 0.05; done
for image in "$NODE_IMAGES"/*.tar; do node_ctr images import "$image"; done
until ready; do sleep 0.1; done

keep kubelet kubelet --config "$RUN/kubelet.yaml" --kubeconfig "$pki/kubelet.kubeconfig" --hostname-override "$NODE" --node-ip "$NODE_IP"
keep kube-controller-manager kube-controller-manager --kubeconfig "$pki/controller-manager.kubeconfig" --bind-address 127.0.0.1 --leader-elect=false \
  --root-ca-file "$pki/ca.crt" --cluster-signing-cert-file "$pki/ca.crt" --cluster-signing-key-file "$pki/ca.key" \
  --service-account-private-key-file "$pki/sa.key" --use-service-account-credentials --kube-api-qps 200 --kube-api-burst 400
keep kube-scheduler kube-scheduler --config "$RUN/kube-scheduler.yaml" --bind-address 127.0.0.1
keep kube-proxy kube-proxy --config "$RUN/kube-proxy.yaml"
keep local-provisioner local-provisioner --kubeconfig "$pki/local-provisioner.kubeconfig" --node "$NODE" --dir "$RUN/volumes"
wait
