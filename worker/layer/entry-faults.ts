import { shown } from './tar-format.ts'

/** What is wrong with an entry, in the words that both kinds of tree have for it. What to do comes last. */
export const FAULT = {
  linksToItself: 'links to itself',
  linksToFolder: 'links to a folder, which only symbolic links can do',
  replacesTarget: 'takes the place of what it links to',
  belowFile: 'lies below something that is not a folder',
  tooManyLinks: 'leads through too many links, perhaps in a circle',
} as const

/**
 * Of a hard link. One to a file of a layer below is refused as containerd and Docker's overlay2 refuse it: a layer is known by
 * its own bytes and lies under images with other files below it.
 */
export function linksToMissing(target: string): string {
  return `links to ${shown(target)}, which is not ahead of it in the same tar (a file of a layer below does not count): put the file itself there`
}

/** What an entry of a tar can bring about by itself, as the kernel says it; everything else is the host's doing. */
const KERNEL_SAYS: Record<string, string> = {
  ENOTDIR: FAULT.belowFile,
  EISDIR: 'is a folder already',
  EEXIST: 'is there already',
  ENOENT: 'lies in a folder that is gone',
  ENAMETOOLONG: "has a name or target that is too long for the host's file system: shorten it",
  EINVAL: "is something that the host's file system cannot hold",
  EPERM: "is something that the host's file system does not allow",
  EMLINK: "has more names than the host's file system can give one file",
  EFBIG: "is larger than a file of the host's file system can be",
}

/** Undefined: not the entry's fault. */
export function kernelFault(errno: string): string | undefined {
  const why = KERNEL_SAYS[errno]
  return why && `${why} (${errno})`
}
