import type { Digest } from '#shared/digest.ts'

/**
 * Container filesystems made of read-only layers and one writable layer on top. Layers are known by diff ID and stored
 * once a host. Everything is found again from the disk and the mount table: no state in memory.
 * All drivers pass `snapshotter.contract.ts`.
 */
export interface Snapshotter {
  readonly name: string
  /** With a snapshot's `id`: whether that snapshot, if it is there already, has the layer below it. */
  hasLayer(diffId: Digest, id?: string): Promise<boolean>
  /**
   * Makes a layer from its uncompressed tar. The caller has not verified it yet: `verify` runs after the last byte and
   * its rejection discards the layer. Whole or not at all; a layer that is there already is kept and the tar drained.
   * Errors: `layer.invalid` (an entry leaves the layer's root), `host.disk-full`.
   */
  addLayer(diffId: Digest, tar: AsyncIterable<Uint8Array>, verify: () => Promise<void>): Promise<void>
  /**
   * Makes (or finds) the snapshot `id` over these layers, bottom first, and mounts it. Idempotent. Errors: `host.unable` where the driver
   * cannot do it so, `container.files-in-use` while it is mounted with other ids.
   */
  prepare(id: string, diffIds: readonly Digest[], how?: Preparation): Promise<Snapshot>
  /**
   * What the snapshot changed against its layers, for as long as it is not disposed of. Nobody writes to the snapshot
   * meanwhile. Throws `internal` where there is no such snapshot.
   */
  openChanges(id: string): Promise<Changes>
  /**
   * Turns what a snapshot that is no longer mounted changed into the layer `diffId`; the snapshot is gone afterwards.
   * Copies no file where the driver need not.
   */
  adoptUpper(id: string, diffId: Digest): Promise<void>
  /** Every snapshot that left anything on this host, mounted or not. */
  list(): Promise<SnapshotInfo[]>
  layers(): Promise<Digest[]>
  /**
   * Bytes that a layer takes on the disk, all copies of it; with a snapshot's `id` the one that is below it. 0 where it is
   * not here. Known without a walk, and by a few calls of the kernel
   * however many layers there are: the sizes of all are asked for one by one.
   */
  layerSize(diffId: Digest, id?: string): Promise<number>
  /** What a snapshot takes besides its layers. Walks files, so it is for the background; nothing for one that is not there. */
  snapshotSize(id: string): Promise<SnapshotSize>
  unmount(id: string): Promise<void>
  /** Unmounts and removes the snapshot with its writable layer. One that is not there is no error. */
  remove(id: string): Promise<void>
  /**
   * Removes the layers that came, and were last asked for by this process, before `olderThan` (Unix milliseconds) and that
   * neither a snapshot nor `kept` names, and says which.
   */
  sweepLayers(kept: ReadonlySet<Digest>, olderThan: number): Promise<Digest[]>
  /** What `sweepLayers` would remove, whatever its age: bytes on the disk, by layer. Reads a small file for each snapshot. */
  spareLayers(kept: ReadonlySet<Digest>): Promise<Map<Digest, number>>
  /** Resolves once what was removed takes no room any more. */
  settled(): Promise<void>
  /** Removes what a crash left half made (temporary folders). Call before any other work. */
  sweep(): Promise<void>
}

export interface Preparation {
  /**
   * Made anew after a crash, and mounted once: no sync of what is written to it need wait for the disk, where the driver can have it
   * so. What becomes a layer is synced by its store.
   */
  isVolatile?: boolean
  /** In the mount its files have ids from there on instead of from 0 on, and keep their own on the disk. Left out: the disk's. */
  firstId?: number | undefined
}

export interface Snapshot {
  id: string
  /** The mounted root filesystem. */
  rootfs: string
}

/** In bytes, by blocks of the disk. */
export interface SnapshotSize {
  /** Files that it added or changed. Folders count as nothing, as with Docker: mount points are made in each snapshot. */
  writtenBytes: number
  /** What its removal would free: more than that where a snapshot is a copy. */
  takenBytes: number
}

export interface Changes extends AsyncDisposable {
  /** A folder in overlay's form: whiteouts are 0/0 devices, folders that hide what is below have the opaque xattr. */
  upper: string
  /** The folders of the layers below it, topmost first, in the same form. */
  lower: string[]
}

export interface SnapshotInfo {
  id: string
  isMounted: boolean
  rootfs: string
}
