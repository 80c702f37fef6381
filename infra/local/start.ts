import { once } from 'node:events'
import { type Booted, bootSlipway } from './boot.ts'
import { containerLogs, containerTable, runDemo } from './demo.ts'
import { diskIsFull } from './full-disk.ts'
import { layoutFromEnvironment, pathsOf } from './layout.ts'

/** `npm start`: boots Slipway on this machine, runs the main job on it and stays in the foreground. */

const bold = (text: string) => `\x1b[1m${text}\x1b[0m`
const say = (line: string) => console.log(`${bold('»')} ${line}`)
const print = (text: string) => process.stdout.write(text.replace(/^(?=.)/gm, '    '))

const layout = layoutFromEnvironment(process.env)
const port = Number(process.env.SLIPWAY_DEMO_PORT ?? 8080)
const stop = new AbortController()
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => stop.abort())

try {
  await using slipway = await bootSlipway(layout, say)
  const cannotWork = slipway.agent.gaveUp.then(reason => {
    throw new Error(`The agent cannot work: ${reason}`)
  })
  const full = diskIsFull(layout.dataFolder)
  if (full === undefined) await Promise.race([showMainJob(slipway), aborted(), cannotWork])
  else say(`${full} Slipway runs, without its example: ${slipway.api.url}/docs`)
  await Promise.race([aborted(), cannotWork])
  say('stopping Slipway; containers go on, and the next npm start adopts them')
} catch (error) {
  console.error(`\n${bold('Slipway did not start.')} ${error instanceof Error ? error.message : error}`)
  const full = diskIsFull(layout.dataFolder)
  if (full !== undefined) console.error(full)
  process.exitCode = 1
}

async function aborted(): Promise<void> {
  if (!stop.signal.aborted) await once(stop.signal, 'abort')
}

async function showMainJob(slipway: Booted): Promise<void> {
  const { api, operatorToken } = slipway
  const { url, page } = await runDemo({ api, port, say, print })
  print(`${page.trimEnd()}\n`)
  say('its log')
  print(`${await containerLogs(api)}\n`)
  say('what runs')
  print(`${await containerTable(api)}\n`)
  const tokenPath = pathsOf(layout).operatorToken
  console.log(`
${bold('Open')}  ${url}        the page that the container serves
      ${api.url}/docs   the API, to read and to try
${slipway.isFirstStart ? `\n${bold('Token')} ${operatorToken}   also in ${tokenPath}\n` : ''}
${bold('Try')}   export TOKEN=$(cat ${tokenPath})
      curl -H "Authorization: Bearer $TOKEN" ${api.url}/v1/containers
      curl -H "Authorization: Bearer $TOKEN" "${api.url}/v1/containers/hello/logs?follow=true"
      curl -H "Authorization: Bearer $TOKEN" -X POST "${api.url}/v1/containers/hello/stop?wait=exited"

Ctrl-C stops Slipway; the containers stay. npm run clean removes everything.`)
}
