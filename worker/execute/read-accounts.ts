import { readFileInRoot } from '#worker/host/rooted-fs.ts'

const ACCOUNT_FILE_LIMIT = 1024 * 1024

/** A container's /etc/passwd and /etc/group, empty where it has none. Its links lead nowhere outside its root. */
export async function readAccounts(rootfs: string): Promise<[passwd: string, group: string]> {
  const read = async (path: string) => (await readFileInRoot(rootfs, path, ACCOUNT_FILE_LIMIT))?.toString() ?? ''
  return Promise.all([read('/etc/passwd'), read('/etc/group')])
}
