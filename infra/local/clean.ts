import { spawnSync } from 'node:child_process'
import { rmSync } from 'node:fs'
import { join } from 'node:path'
import { removeAroundMounts } from '#worker/host/remove-around-mounts.ts'
import { isFree } from './boot.ts'
import { layoutFromEnvironment, pathsOf } from './layout.ts'

/**
 * `npm run clean`: removes all that Slipway made on this machine: containers, mounts, namespaces, bridge, firewall
 * table, cgroups, images, database. Not the Debian packages, nothing in this checkout, and no filesystem that somebody mounted.
 */
const layout = layoutFromEnvironment(process.env)
if (!(await isFree(layout.apiPort))) {
  console.error(`Slipway still runs (port ${layout.apiPort} is taken). Stop it with Ctrl-C first, then clean again.`)
  process.exit(1)
}

const worker = join(import.meta.dirname, '../../worker/remove-all.ts')
const removal = spawnSync(process.execPath, [worker], {
  stdio: 'inherit',
  env: {
    ...process.env,
    SLIPWAY_INSTANCE: layout.instance,
    SLIPWAY_DATA: pathsOf(layout).agent,
    SLIPWAY_RUN: layout.runFolder,
  },
})
if (removal.status !== 0) {
  console.error('Not everything could be removed; the lines above say what. Mend that and clean again.')
  process.exit(1)
}
const staying = await removeAroundMounts(layout.dataFolder)
rmSync(layout.runFolder, { recursive: true, force: true })
console.log(`Removed all that Slipway made: ${layout.dataFolder}, ${layout.runFolder} and what ran from them.`)
console.log('Debian packages, and node_modules and .tools in this checkout, stay; remove them by hand if you like.')
for (const place of staying) console.log(`What is mounted at ${place} stays mounted: unmount it by hand if you like.`)
