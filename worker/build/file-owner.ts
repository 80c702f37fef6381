import { readFileInRoot } from '../host/rooted-fs.ts'
import { resolveUser } from '../runtime/user.ts'

const ACCOUNT_FILE_LIMIT = 1024 * 1024

export interface Owner {
  uid: number
  gid: number
}

/** Whose the files are that `--chown` or WORKDIR makes, by the accounts of the root filesystem itself. */
export async function ownerOf(user: string, rootfs: string): Promise<Owner> {
  const read = async (path: string) => (await readFileInRoot(rootfs, path, ACCOUNT_FILE_LIMIT))?.toString() ?? ''
  const { uid, gid } = resolveUser(user, await read('/etc/passwd'), await read('/etc/group'))
  // Docker's rule for files: a number alone is the group too.
  return /^\d+$/.test(user) ? { uid, gid: uid } : { uid, gid }
}
