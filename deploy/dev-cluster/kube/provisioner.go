package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/component-helpers/storage/volume"
	"k8s.io/klog/v2"
)

// What the StorageClass names as its provisioner.
const provisionerName = "hearth.dev/local"

// provisioner makes a folder of its node into a PersistentVolume for each claim
// that the scheduler placed there, and removes both when the claim is gone. Like
// a freshly made file system, the folder belongs to root: only a Pod's fsGroup
// opens it to others.
type provisioner struct {
	client kubernetes.Interface
	node   string
	dir    string
}

func newProvisionerCommand() *cobra.Command {
	var kubeconfig string
	var p provisioner
	c := &cobra.Command{
		Use:          "local-provisioner",
		Short:        "Provisions PersistentVolumes from folders of one node",
		SilenceUsage: true,
		RunE: func(c *cobra.Command, _ []string) error {
			config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
			if err != nil {
				return err
			}
			if p.client, err = kubernetes.NewForConfig(config); err != nil {
				return err
			}
			return p.run(c.Context())
		},
	}
	c.Flags().StringVar(&kubeconfig, "kubeconfig", "", "how to reach the cluster")
	c.Flags().StringVar(&p.node, "node", "", "the node whose folders these are")
	c.Flags().StringVar(&p.dir, "dir", "", "where the folders are made")
	return c
}

// run looks at everything afresh twice a second: a development cluster holds a
// few dozen claims, and whatever went wrong is put right by the next round.
func (p *provisioner) run(ctx context.Context) error {
	if ctx == nil {
		ctx = context.Background()
	}
	return wait.PollUntilContextCancel(ctx, 500*time.Millisecond, true, func(ctx context.Context) (bool, error) {
		if err := p.round(ctx); err != nil {
			klog.ErrorS(err, "round failed, trying again")
		}
		return false, nil
	})
}

// Lists answered from the API server's cache (resource version 0) cost nothing
// worth counting.
var cached = metav1.ListOptions{ResourceVersion: "0"}

func (p *provisioner) round(ctx context.Context) error {
	claims, err := p.client.CoreV1().PersistentVolumeClaims("").List(ctx, cached)
	if err != nil {
		return err
	}
	for i := range claims.Items {
		if claim := &claims.Items[i]; p.wants(claim) {
			if err := p.provision(ctx, claim); err != nil {
				return fmt.Errorf("provisioning for %s/%s: %w", claim.Namespace, claim.Name, err)
			}
		}
	}
	volumes, err := p.client.CoreV1().PersistentVolumes().List(ctx, cached)
	if err != nil {
		return err
	}
	for i := range volumes.Items {
		if v := &volumes.Items[i]; p.isDone(v) {
			if err := p.remove(ctx, v); err != nil {
				return fmt.Errorf("removing %s: %w", v.Name, err)
			}
		}
	}
	return nil
}

// wants reports whether a claim waits for a volume of ours: the volume
// controller writes the provisioner, the scheduler the node.
func (p *provisioner) wants(c *corev1.PersistentVolumeClaim) bool {
	return c.Spec.VolumeName == "" && c.DeletionTimestamp == nil &&
		c.Annotations[volume.AnnStorageProvisioner] == provisionerName &&
		c.Annotations[volume.AnnSelectedNode] == p.node
}

func (p *provisioner) provision(ctx context.Context, c *corev1.PersistentVolumeClaim) error {
	name := "pvc-" + string(c.UID)
	path := filepath.Join(p.dir, name)
	if err := os.MkdirAll(path, 0o755); err != nil {
		return err
	}
	mode := corev1.PersistentVolumeFilesystem
	pv := &corev1.PersistentVolume{
		ObjectMeta: metav1.ObjectMeta{
			Name:        name,
			Annotations: map[string]string{volume.AnnDynamicallyProvisioned: provisionerName},
		},
		Spec: corev1.PersistentVolumeSpec{
			AccessModes: c.Spec.AccessModes,
			Capacity:    corev1.ResourceList{corev1.ResourceStorage: c.Spec.Resources.Requests[corev1.ResourceStorage]},
			ClaimRef: &corev1.ObjectReference{
				APIVersion: "v1", Kind: "PersistentVolumeClaim",
				Namespace: c.Namespace, Name: c.Name, UID: c.UID,
			},
			NodeAffinity: &corev1.VolumeNodeAffinity{Required: &corev1.NodeSelector{
				NodeSelectorTerms: []corev1.NodeSelectorTerm{{
					MatchExpressions: []corev1.NodeSelectorRequirement{{
						Key: corev1.LabelHostname, Operator: corev1.NodeSelectorOpIn, Values: []string{p.node},
					}},
				}},
			}},
			PersistentVolumeReclaimPolicy: corev1.PersistentVolumeReclaimDelete,
			PersistentVolumeSource:        corev1.PersistentVolumeSource{Local: &corev1.LocalVolumeSource{Path: path}},
			StorageClassName:              *c.Spec.StorageClassName,
			VolumeMode:                    &mode,
		},
	}
	_, err := p.client.CoreV1().PersistentVolumes().Create(ctx, pv, metav1.CreateOptions{})
	if apierrors.IsAlreadyExists(err) {
		return nil
	}
	if err == nil {
		klog.InfoS("provisioned", "claim", klog.KObj(c), "volume", name)
	}
	return err
}

// isDone reports whether a volume of ours has lost its claim. The volume
// controller marks it Failed where, as here, no plugin in its own process can
// delete it.
func (p *provisioner) isDone(v *corev1.PersistentVolume) bool {
	released := v.Status.Phase == corev1.VolumeReleased || v.Status.Phase == corev1.VolumeFailed
	return released && v.DeletionTimestamp == nil &&
		v.Annotations[volume.AnnDynamicallyProvisioned] == provisionerName
}

func (p *provisioner) remove(ctx context.Context, v *corev1.PersistentVolume) error {
	if v.Spec.Local == nil || filepath.Dir(v.Spec.Local.Path) != filepath.Clean(p.dir) {
		return fmt.Errorf("its folder does not lie in %s", p.dir)
	}
	if err := os.RemoveAll(v.Spec.Local.Path); err != nil {
		return err
	}
	klog.InfoS("removed", "volume", v.Name)
	return p.client.CoreV1().PersistentVolumes().Delete(ctx, v.Name, metav1.DeleteOptions{})
}
