import { mkdirSync, mkdtempSync, rmSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { mountOverlay, unmount } from '#worker/host/mount.ts'
import { withMapping } from '#worker/host/userns.ts'

const DRIVERS = ['overlay', 'erofs']
const FIRST = 0xc0000000

/**
 * Why this host gives no container ids of its own; undefined: it does. Tried out with a small mount, since what a kernel takes as a
 * layer has changed from version to version (Linux 6.15 takes what lies nowhere). `driver`: of containers to come.
 */
export async function mappingRefusal(driver: string, dataFolder: string): Promise<string | undefined> {
  if (!DRIVERS.includes(driver)) {
    return `its storage driver is ${driver}, and files get ids of a container's own with ${DRIVERS.join(' and ')} alone; leave it out`
  }
  const folder = mkdtempSync(join(dataFolder, 'mapping-'))
  const [lower, upper, work, target] = ['lower', 'upper', 'work', 'target'].map(name => join(folder, name)) as Four
  for (const path of [lower, upper, work, target]) mkdirSync(path)
  try {
    await withMapping(FIRST, usernsFd => mountOverlay({ lower: [lower], upper, work, target, usernsFd }))
    return statSync(target).uid === FIRST ? undefined : 'its kernel maps no ids of files; leave it out'
  } catch (error) {
    return `its kernel maps no ids of files, which takes Linux 6.15 (${error instanceof Error ? error.message : error}); leave it out`
  } finally {
    await unmount(target)
    rmSync(folder, { recursive: true, force: true })
  }
}
type Four = [string, string, string, string]
