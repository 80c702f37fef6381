import type { DesiredContainer } from '#shared/domain/container.ts'
import { unreachable } from '#shared/errors.ts'
import type { ContainerAction } from '../reconcile/actions.ts'
import { adoptSpec } from './adopt-spec.ts'
import type { HostPorts } from './ports.ts'
import { releaseContainer, removeContainer } from './remove-container.ts'
import { resetContainer } from './reset-container.ts'
import { noteEnd, noteOutOfMemory, prepareContainer, runContainer, startProcess } from './run-container.ts'
import { sendSignal, sendStop } from './signal-container.ts'

/** Carries out one action of a plan. Each is idempotent; a failure leaves what the next plan starts from. */
export async function execute(action: ContainerAction, want: DesiredContainer, ports: HostPorts): Promise<void> {
  switch (action.kind) {
    case 'fetchImage':
      return ports.fetches.begin(action.want)
    case 'runContainer':
      return runContainer(action, ports)
    case 'prepareContainer':
      return prepareContainer(action.want, ports)
    case 'startProcess':
      return startProcess(ports, action.id)
    case 'noteEnd':
      return noteEnd(ports, action.id)
    case 'noteOutOfMemory':
      return noteOutOfMemory(ports, action.id)
    case 'adoptSpec':
      return adoptSpec(ports, action.want)
    case 'sendStop':
      return sendStop(ports, want, action.signal)
    case 'sendSignal':
      return sendSignal(ports, action.id, action.signal, action.seq)
    case 'pauseProcess':
      return ports.runtime.pause(action.id)
    case 'resumeProcess':
      return ports.runtime.resume(action.id)
    case 'releaseContainer':
      return releaseContainer(ports, action.id)
    case 'resetContainer':
      return resetContainer(ports, action.id, action.revision)
    case 'removeContainer':
      return removeContainer(ports, action.id)
    default:
      return unreachable(action)
  }
}
