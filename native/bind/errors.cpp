#include "bind.hpp"

#include "persia/error.hpp"

namespace nb = nanobind;

namespace persia::bind {

namespace {

// Raises persia.errors.<name>(*arguments). Looked up at the time of the error, so that persia.errors need not be loaded first.
template <class... Arguments>
void raise(const char* name, Arguments&&... arguments) {
    nb::object type = nb::module_::import_("persia.errors").attr(name);
    nb::object error = type(std::forward<Arguments>(arguments)...);
    PyErr_SetObject(type.ptr(), error.ptr());
}

nb::str text(const std::string& value) {
    return nb::steal<nb::str>(PyUnicode_DecodeUTF8(value.data(), static_cast<Py_ssize_t>(value.size()), "replace"));
}

void translate(const std::exception_ptr& pending, void*) {
    try {
        std::rethrow_exception(pending);
    } catch (const CorruptFile& error) {
        raise("CorruptFile", file_name(error.path), text(error.expected), text(error.got), error.byte);
    } catch (const DecodeError& error) {
        raise("DecodeError", text(error.expected), text(error.got), error.byte);
    } catch (const TooLarge& error) {
        raise("TooLarge", text(error.what()));
    } catch (const IoError& error) {
        PyErr_SetObject(PyExc_OSError, nb::make_tuple(error.code, text(error.what()), file_name(error.path)).ptr());
    } catch (const FeatureError& error) {
        raise("FeatureError", text(error.feature), text(error.problem));
    } catch (const InvalidInput& error) {
        raise("InvalidInput", text(error.what()));
    }
}

}  // namespace

void errors(nb::module_&) { nb::register_exception_translator(translate); }

}  // namespace persia::bind
