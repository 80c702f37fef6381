/**
 * What the runtime mounts over in a root filesystem; what is in a folder comes before it. Where an image lacks one, an empty
 * file or folder stands in its place, which is no change of the container's.
 */
export const MOUNT_POINTS: ReadonlyMap<string, 'file' | 'folder'> = new Map([
  ['proc', 'folder'],
  ['sys', 'folder'],
  ['dev', 'folder'],
  ['etc/hostname', 'file'],
  ['etc/hosts', 'file'],
  ['etc/resolv.conf', 'file'],
  ['etc', 'folder'],
])
