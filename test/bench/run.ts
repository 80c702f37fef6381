import { buildBench } from './build.ts'
import { execBench } from './exec.ts'
import { layersBench } from './layers.ts'
import { memoryBench } from './memory.ts'
import { readsBench } from './reads.ts'
import { registryBench } from './registry.ts'
import { startBench } from './start.ts'
import { unpackBench } from './unpack.ts'

/** `npm run bench [-- NAME…]` */
const benches: Record<string, () => Promise<void>> = {
  start: startBench,
  memory: memoryBench,
  registry: registryBench,
  layers: layersBench,
  reads: readsBench,
  unpack: unpackBench,
  build: buildBench,
  exec: execBench,
}

const wanted = process.argv.slice(2)
const unknown = wanted.filter(name => !(name in benches))
if (unknown.length > 0) {
  console.error(`No benchmark is called ${unknown.join(', ')}. There are: ${Object.keys(benches).join(', ')}.`)
  process.exit(1)
}
for (const [name, bench] of Object.entries(benches)) {
  if (wanted.length > 0 && !wanted.includes(name)) continue
  console.log(`\n── ${name}`)
  await bench()
}
