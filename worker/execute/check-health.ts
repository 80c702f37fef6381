import { readFile } from 'node:fs/promises'
import { request } from 'node:http'
import { join } from 'node:path'
import type { Readable } from 'node:stream'
import { HEALTH_OUTPUT_BYTES, type HealthPlan, type HealthProbe, type HealthResult } from '#shared/domain/health.ts'
import type { ContainerId } from '#shared/domain/ids.ts'
import { unreachable } from '#shared/errors.ts'
import { connectInNetns } from '#worker/host/netns-connection.ts'
import type { OciRuntimeConfig } from '../runtime/oci-config.ts'
import type { HostPorts } from './ports.ts'

export type HealthPorts = Pick<HostPorts, 'runtime' | 'clock' | 'containersFolder'>
type Outcome = Pick<HealthResult, 'exitCode' | 'output'>

/** Failed without a program's own code. */
const FAILED = 1
const NO_ANSWER = -1

export interface HealthCheckOrder {
  id: ContainerId
  plan: HealthPlan
  /** The first process of the container. */
  pid: number
  /** The first check of this agent: one of another agent may still be under way. */
  isFirst: boolean
  signal: AbortSignal
}

/** Makes one check of a container. Never throws: what cannot be made has failed. Takes its timeout and a second at most. */
export async function checkHealth(ports: HealthPorts, order: HealthCheckOrder): Promise<HealthResult> {
  const startedAt = ports.clock.now()
  const { exitCode, output } = await outcomeOf(ports, order).catch(error => ({
    exitCode: NO_ANSWER,
    output: error instanceof Error ? error.message : String(error),
  }))
  const bounded = Buffer.from(output).subarray(0, HEALTH_OUTPUT_BYTES).toString()
  return { startedAt, finishedAt: ports.clock.now(), exitCode, output: bounded }
}

function outcomeOf(ports: HealthPorts, order: HealthCheckOrder): Promise<Outcome> {
  const { probe } = order.plan
  switch (probe.kind) {
    case 'command':
      return byCommand(ports, order, probe.args)
    case 'shell':
      return byCommand(ports, order, ['/bin/sh', '-c', probe.line])
    case 'http':
      return inTime(order, signal => byHttp(order.pid, probe, signal))
    case 'tcp':
      return inTime(order, signal => byTcp(order.pid, probe.port, signal))
    default:
      return unreachable(probe)
  }
}

/** With environment, user and folder of the container's first process. */
async function byCommand(ports: HealthPorts, order: HealthCheckOrder, args: readonly string[]): Promise<Outcome> {
  const { id, plan, isFirst, signal } = order
  const text = await readFile(join(ports.containersFolder, id, 'config.json'), 'utf8')
  const { process }: OciRuntimeConfig = JSON.parse(text)
  const { exitCode, isOverdue, output } = await ports.runtime.probe(
    id,
    { ...process, args },
    { timeoutMs: plan.timeoutMs, outputBytes: HEALTH_OUTPUT_BYTES, signal, endsLeftovers: isFirst },
  )
  if (isOverdue) return { exitCode: NO_ANSWER, output: `${overdue(plan)}\n${output}` }
  return { exitCode: exitCode ?? NO_ANSWER, output }
}

const overdue = ({ timeoutMs }: HealthPlan) => `The check took longer than ${timeoutMs / 1000} s and was killed.`

async function inTime({ plan, signal }: HealthCheckOrder, ask: (signal: AbortSignal) => Promise<Outcome>) {
  const late = AbortSignal.timeout(plan.timeoutMs)
  const over = AbortSignal.any([signal, late])
  try {
    const { promise: ended, reject } = Promise.withResolvers<never>()
    over.addEventListener('abort', () => reject(over.reason), { once: true })
    return await Promise.race([ask(over), ended])
  } catch (error) {
    if (late.aborted) return { exitCode: NO_ANSWER, output: overdue(plan) }
    return { exitCode: FAILED, output: error instanceof Error ? error.message : String(error) }
  }
}

const netnsOf = (pid: number) => `/proc/${pid}/ns/net`

async function byHttp(
  pid: number,
  { port, path, headers }: Extract<HealthProbe, { kind: 'http' }>,
  signal: AbortSignal,
): Promise<Outcome> {
  const { promise, resolve, reject } = Promise.withResolvers<Outcome>()
  const asked = request({
    ...{ method: 'GET', path, signal }, // And no agent: it would make connections of its own.
    headers: { host: `localhost:${port}`, 'user-agent': 'slipway-health', connection: 'close', ...headers },
    createConnection: () => connectInNetns(netnsOf(pid), port),
  })
  asked.on('error', reject)
  asked.on('upgrade', ({ statusCode }, socket) => {
    socket.destroy()
    resolve({ exitCode: FAILED, output: `${statusCode}: it changes to another protocol.` })
  })
  asked.on('response', response => {
    const { statusCode = 0, statusMessage = '' } = response
    const isHealthy = statusCode >= 200 && statusCode < 400
    beginning(response)
      .then(body => resolve({ exitCode: isHealthy ? 0 : FAILED, output: `${statusCode} ${statusMessage}\n${body}` }))
      .catch(reject)
      .finally(() => asked.destroy())
  })
  asked.end()
  return promise
}

/** The status has been said by then: the body may be endless. */
async function beginning(body: Readable): Promise<string> {
  const pieces: Buffer[] = []
  let size = 0
  for await (const piece of body) {
    pieces.push(piece)
    size += piece.length
    if (size >= HEALTH_OUTPUT_BYTES) break
  }
  return Buffer.concat(pieces).toString()
}

async function byTcp(pid: number, port: number, signal: AbortSignal): Promise<Outcome> {
  const socket = connectInNetns(netnsOf(pid), port)
  const { promise, resolve, reject } = Promise.withResolvers<Outcome>()
  socket.once('connect', () => resolve({ exitCode: 0, output: '' }))
  socket.once('error', reject)
  signal.addEventListener('abort', () => reject(signal.reason), { once: true })
  return promise.finally(() => socket.destroy())
}
