/** Stops the listener that was given. Calling it twice is harmless. */
export type Off = () => void;

/**
 * Listeners by event name. One listener that throws does not keep the event from the others, nor break the connection:
 * its error is reported as uncaught.
 */
export class Emitter<Events extends { [Name in keyof Events]: unknown[] }> {
  // Without a prototype: event names may come from others, "__proto__" included.
  private readonly listeners = Object.create(null) as { [Name in keyof Events]?: Set<(...values: Events[Name]) => void> };

  on<Name extends keyof Events>(name: Name, listener: (...values: Events[Name]) => void): Off {
    const set = (this.listeners[name] ??= new Set());
    // A listener of its own per call, so that adding one function twice and taking it off once leaves one.
    const own = (...values: Events[Name]) => listener(...values);
    set.add(own);
    return () => void set.delete(own);
  }

  emit<Name extends keyof Events>(name: Name, ...values: Events[Name]): void {
    for (const listener of [...(this.listeners[name] ?? [])]) {
      try {
        listener(...values);
      } catch (error) {
        queueMicrotask(() => {
          throw error;
        });
      }
    }
  }
}
